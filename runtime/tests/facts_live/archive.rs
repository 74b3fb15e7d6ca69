//! An archive that servers share, and what recovery takes from it.

use super::harness::{Lab, Server, fact, give_away, lsn, until};
use std::path::{Path, PathBuf};

const CURRENT: &str = "SELECT pg_walfile_name(pg_current_wal_insert_lsn())";

fn archive(lab: &Lab) -> PathBuf {
    let dir = lab.path().join("archive");
    std::fs::create_dir(&dir).unwrap();
    give_away(&dir);
    dir
}

/// From its next start on.
fn archives(server: &Server, dir: &Path) {
    let dir = dir.display();
    server.set("archive_mode", "on");
    server.set("archive_command", &format!("test ! -f {dir}/%f && cp %p {dir}/%f.part && mv {dir}/%f.part {dir}/%f"));
}

fn restores(server: &Server, dir: &Path) {
    server.set("restore_command", &format!("cp {}/%f %p", dir.display()));
}

/// `b` was promoted; after that `a` has written row 1 and is stopped in order. `c` is behind the switch and down, and
/// is to follow `b`.
async fn dead_branch(lab: &Lab) -> (PathBuf, Server, Server) {
    let dir = archive(lab);
    let (a, b) = (lab.server("a"), lab.server("b"));
    archives(&a, &dir);
    archives(&b, &dir);
    a.start().await;
    b.follow(a.port);
    b.start().await;
    a.until_streams("b").await;
    let c = lab.standby("c", &a).await;
    c.stop_fast().await;
    b.promote().await;
    until("the new history is archived", async || dir.join("00000002.history").exists()).await;
    a.run("INSERT INTO t VALUES (1)").await;
    let last = a.ask(CURRENT).await;
    a.stop_fast().await;
    assert!(dir.join(&last).exists(), "{last}");
    assert!(!dir.join(last.replacen("00000001", "00000002", 1)).exists(), "not on the new timeline yet");
    c.follow(b.port);
    (dir, b, c)
}

#[test]
fn an_orderly_stop_archives_its_last_segment() {
    fact(async |lab: &Lab| {
        let dir = archive(lab);
        let a = lab.server("a");
        archives(&a, &dir);
        a.start().await;
        a.run("INSERT INTO t VALUES (1)").await;
        let last = a.ask(CURRENT).await;
        let next = a.ask("SELECT (pg_current_wal_insert_lsn() - '0/0')::int8 / 1048576 + 1").await;
        assert!(!dir.join(&last).exists(), "the segment isn't full");
        a.stop_fast().await;
        assert!(dir.join(&last).exists());
        assert_eq!(a.control("Database cluster state").await, "shut down");
        let checkpoint = lsn(&a.control("Latest checkpoint location").await);
        assert_eq!((checkpoint.0 / 1_048_576).to_string(), next, "its checkpoint is in the next one");
    });
}

#[test]
fn a_standby_goes_on_from_the_archive_without_its_upstream() {
    fact(async |lab: &Lab| {
        let dir = archive(lab);
        let a = lab.server("a");
        archives(&a, &dir);
        a.start().await;
        let c = lab.standby("c", &a).await;
        c.stop_fast().await;
        a.run("INSERT INTO t VALUES (1)").await;
        a.stop_fast().await;
        restores(&c, &dir);
        c.start().await;
        c.until("(SELECT count(*) FROM t) = 1").await;
    });
}

#[test]
fn a_dead_branch_in_the_archive_is_followed() {
    fact(async |lab: &Lab| {
        let (dir, b, c) = dead_branch(lab).await;
        b.run("INSERT INTO t VALUES (2)").await;
        restores(&c, &dir);
        c.start().await;
        c.until("(SELECT count(*) FROM t WHERE n = 1) = 1").await;
        assert_eq!(b.ask("SELECT string_agg(n::text, ',') FROM t").await, "2", "it has never heard of row 1");
        // It asks again and again, and what it is sent doesn't continue what it has.
        let asked = c.log().matches("started streaming WAL").count();
        until("c has asked again", async || c.log().matches("started streaming WAL").count() > asked + 1).await;
        assert_eq!(c.ask("SELECT string_agg(n::text, ',') FROM t").await, "1");
    });
}

#[test]
fn an_empty_restore_command_takes_no_dead_branch() {
    fact(async |lab: &Lab| {
        let (_dir, b, c) = dead_branch(lab).await;
        c.set("restore_command", "");
        c.start().await;
        b.until_streams("c").await;
        b.run("INSERT INTO t VALUES (2)").await;
        c.until("(SELECT string_agg(n::text, ',') FROM t) = '2'").await;
    });
}

#[test]
fn a_rewind_takes_its_own_wal_from_the_archive_only_when_told_to() {
    fact(async |lab: &Lab| {
        let dir = archive(lab);
        let (a, b) = (lab.server("a"), lab.server("b"));
        archives(&a, &dir);
        a.start().await;
        b.follow(a.port);
        b.start().await;
        a.until_streams("b").await;
        let segment = a.ask("SELECT pg_walfile_name(checkpoint_lsn) FROM pg_control_checkpoint()").await;
        a.run("SELECT pg_switch_wal()").await;
        a.run("INSERT INTO t VALUES (1)").await;
        b.until_replayed(&a).await;
        b.promote().await;
        b.run("CHECKPOINT").await;
        a.run("INSERT INTO t VALUES (2)").await;
        a.stop_fast().await;
        assert!(dir.join(&segment).exists());
        let file = a.pgdata.join("pg_wal").join(&segment);
        std::fs::remove_file(&file).unwrap();
        restores(&a, &dir);
        let refused = lab.rewind(&a, b.port).await;
        assert!(!refused.success && refused.text.contains("could not find previous WAL record"), "{}", refused.text);
        a.set("restore_command", "");
        let refused = lab.rewind_with(&a, b.port, &["--restore-target-wal"]).await;
        assert!(!refused.success && refused.text.contains("is not set in the target cluster"), "{}", refused.text);
        assert!(!file.exists());
        restores(&a, &dir);
        let rewound = lab.rewind_with(&a, b.port, &["--restore-target-wal"]).await;
        assert!(rewound.success && rewound.text.contains("Done!"), "{}", rewound.text);
        a.rejoin(&b).await;
        assert_eq!(a.ask("SELECT string_agg(n::text, ',') FROM t").await, "1");
    });
}
