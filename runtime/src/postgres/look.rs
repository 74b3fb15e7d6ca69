//! One look: a running server is asked in a single round trip, a stopped one costs no process.

use super::LocalPostgres;
use super::control::read_history;
use super::processes::PidFile;
use super::replication::replayed_timeline;
use super::sql::SqlError;
use super::stranded::Need;
use pgbaton_core::model::{
    Control, ControlState, Directory, Facts, Lsn, NodeId, Position, Receiver, Running, Sender, Server, Stranded,
    Timeline,
};
use std::path::Path;
use std::str::FromStr;
use std::sync::PoisonError;
use std::time::Duration;
use tokio_postgres::SimpleQueryRow;

/// A server that needs longer for this query is stuck: it reads shared memory only.
const PATIENCE: Duration = Duration::from_secs(1);

// `OFFSET 0` keeps the role one value for the whole row. Functions of the other role would raise an error,
// so each is asked under its condition.
const QUERY: &str = "
SELECT r.standby::int AS standby,
       CASE WHEN r.standby THEN pg_last_wal_receive_lsn() END AS received,
       CASE WHEN r.standby THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END AS replayed,
       CASE WHEN NOT r.standby THEN pg_walfile_name(pg_current_wal_flush_lsn()) END AS walfile,
       s.system_identifier, c.checkpoint_lsn, c.timeline_id, i.bytes_per_wal_segment,
       w.status AS receiver, w.received_tli,
       extract(epoch FROM clock_timestamp() - w.last_msg_receipt_time) AS receiver_age,
       (SELECT string_agg(concat_ws(' ', application_name, state, coalesce(flush_lsn, '0/0')), ',' ORDER BY pid)
          FROM pg_stat_replication WHERE application_name LIKE 'pgbaton\\_standby\\_%') AS senders,
       (SELECT string_agg(slot_name, ',') FROM pg_replication_slots WHERE slot_type = 'physical' AND NOT active
           AND wal_status = 'lost' AND slot_name LIKE 'pgbaton\\_standby\\_%') AS lost_slots
  FROM (SELECT pg_is_in_recovery() AS standby OFFSET 0) r
 CROSS JOIN pg_control_system() s CROSS JOIN pg_control_checkpoint() c CROSS JOIN pg_control_init() i
  LEFT JOIN pg_stat_wal_receiver w ON true";

impl LocalPostgres {
    pub(super) async fn look_at_all(&self) -> Facts {
        if self.processes.postmaster(&self.config).is_none() {
            return self.facts_with(Server::Down).await;
        }
        match self.watching.query(QUERY, PATIENCE).await {
            Ok(rows) => match self.read_answer(rows.first()).await {
                Ok(facts) => facts,
                Err(why) => self.facts_with(stuck(&why)).await,
            },
            Err(_) if self.processes.postmaster(&self.config).is_none() => self.facts_with(Server::Down).await,
            Err(SqlError::NotYet | SqlError::Broken(_)) => self.facts_with(Server::Starting).await,
            Err(e @ (SqlError::Silent(_) | SqlError::Refused(_))) => self.facts_with(stuck(&e.to_string())).await,
        }
    }

    async fn read_answer(&self, row: Option<&SimpleQueryRow>) -> Result<Facts, String> {
        let unexpected = || "it answers something unexpected".to_string();
        let row = row.ok_or_else(unexpected)?;
        let cut_off = row.get("standby") == Some("1") && row.get("receiver").is_none();
        let replayed = match cut_off {
            true => Some(replayed_timeline(&self.config).await.map_err(|e| e.to_string())?),
            false => None,
        };
        let mut facts = read_row(row, &self.config.pgdata, replayed).ok_or_else(unexpected)?;
        let segment_bytes = number(row, "bytes_per_wal_segment").ok_or_else(unexpected)?;
        if let (Directory::Present(control), Server::Up(running)) = (&facts.directory, &mut facts.server) {
            running.stranded = self.stranded(control, running, segment_bytes);
        }
        let lost = row.get("lost_slots").unwrap_or_default().split(',').filter(|name| !name.is_empty());
        self.renewal.begin(&self.config, lost.map(str::to_string).collect());
        // Of a standby that stopped acknowledging the primary knows.
        if facts.is_open()
            && let Some(reason) = self.disk.complaint(&self.config)
        {
            facts.server = Server::Stuck { reason };
        }
        Ok(facts)
    }

    fn stranded(&self, control: &Control, running: &Running, segment_bytes: u64) -> Option<Stranded> {
        let upstream = self.following.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(upstream) = upstream.filter(|_| running.in_recovery) else {
            self.questions.nothing_needed();
            return None;
        };
        let streaming = running.receiver.as_ref().is_some_and(|receiver| receiver.streaming);
        let need = Need { upstream, history: control.history.clone(), replayed: running.replayed, segment_bytes };
        self.questions.answer(need, streaming, &self.config.replication_password)
    }

    async fn facts_with(&self, server: Server) -> Facts {
        Facts { directory: self.control.directory(&self.config).await, server }
    }
}

fn stuck(reason: &str) -> Server {
    Server::Stuck { reason: reason.to_string() }
}

/// `replayed_tli` is needed for a standby without a receiver. `None` when a column that is always there isn't.
fn read_row(row: &SimpleQueryRow, pgdata: &Path, replayed_tli: Option<Timeline>) -> Option<Facts> {
    let in_recovery = number::<u8>(row, "standby")? == 1;
    let replayed: Lsn = number(row, "replayed").unwrap_or(Lsn::ZERO);
    let received: Lsn = number(row, "received").unwrap_or(Lsn::ZERO);
    let checkpoint_tli = Timeline(number(row, "timeline_id")?);
    let receiver = read_receiver(row);
    let end = received.max(replayed);
    let tli = match (in_recovery, &receiver) {
        // The first eight digits of a segment's name are its timeline.
        (false, _) => Timeline(u32::from_str_radix(row.get("walfile")?.get(..8)?, 16).ok()?),
        (true, Some(receiver)) => receiver.tli,
        (true, None) => replayed_tli?,
    };
    let control = Control {
        system_id: number::<i64>(row, "system_identifier")?.cast_unsigned(),
        state: if in_recovery { ControlState::InRecovery } else { ControlState::InProduction },
        checkpoint: Position { tli: checkpoint_tli, lsn: number(row, "checkpoint_lsn")? },
        history: read_history(pgdata, tli),
    };
    let running = Running {
        in_recovery,
        position: Position { tli, lsn: end },
        replayed,
        checkpoint_tli,
        receiver,
        stranded: None,
        senders: row.get("senders").unwrap_or_default().split(',').filter_map(read_sender).collect(),
        stopping: PidFile::read(pgdata).is_some_and(|file| file.status == "stopping"),
    };
    Some(Facts { directory: Directory::Present(control), server: Server::Up(running) })
}

fn read_receiver(row: &SimpleQueryRow) -> Option<Receiver> {
    let status = row.get("receiver")?;
    let age: f64 = number(row, "receiver_age").unwrap_or(0.0);
    Some(Receiver {
        streaming: status == "streaming",
        tli: Timeline(number(row, "received_tli")?),
        last_message: Duration::try_from_secs_f64(age.max(0.0)).unwrap_or_default(),
    })
}

/// `pgbaton_standby_2 streaming 0/3000148`
fn read_sender(text: &str) -> Option<Sender> {
    let mut words = text.split(' ');
    Some(Sender {
        node: NodeId::from_standby_name(words.next()?)?,
        streaming: words.next()? == "streaming",
        flushed: words.next()?.parse().ok()?,
    })
}

fn number<T: FromStr>(row: &SimpleQueryRow, column: &str) -> Option<T> {
    row.try_get(column).ok()??.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_are_read_and_strangers_left_out() {
        let sender = read_sender("pgbaton_standby_2 streaming 0/3000148").unwrap();
        assert_eq!((sender.node, sender.streaming, sender.flushed), (NodeId(2), true, Lsn(0x300_0148)));
        assert!(!read_sender("pgbaton_standby_2 catchup 0/0").unwrap().streaming);
        assert_eq!(read_sender("walreceiver streaming 0/0"), None);
        assert_eq!(read_sender(""), None);
    }
}
