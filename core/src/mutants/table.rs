//! The bugs: each a plausible mistake, or one that another tool has made.

macro_rules! mutants {
    ($($variant:ident $name:literal $breaks:literal $from:literal,)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Mutant { $(#[doc = $breaks] $variant,)* }

        impl Mutant {
            pub const ALL: &'static [Mutant] = &[$(Mutant::$variant,)*];

            pub fn name(self) -> &'static str {
                match self { $(Mutant::$variant => $name,)* }
            }

            /// What the code does that it must not.
            pub fn breaks(self) -> &'static str {
                match self { $(Mutant::$variant => $breaks,)* }
            }

            /// Who makes this mistake.
            pub fn origin(self) -> &'static str {
                match self { $(Mutant::$variant => $from,)* }
            }
        }
    };
}

// pgaf is pg_auto_failover.
mutants! {
    // Who may be elected.
    MajorityOfMembers "majority-of-members"
        "A majority of a contract's members elects, whatever number must acknowledge."
        "Raft applied where it doesn't fit",
    PromoteOverWaitPrimary "promote-over-wait-primary"
        "Contracts that ask for no standby are left out when it is proven who is complete."
        "pgaf, rule 305",
    NewestContractOnly "newest-contract-only"
        "An election is proven under the newest contract alone, also before the primary has confirmed it."
        "pgaf, secondary before the primary knows",
    ShownNotHeld "shown-not-held"
        "Whoever takes over from a new primary, before its members have come over to it, need not hold what it has shown."
        "acknowledged commits alone are counted",
    ReportsCount "reports-count"
        "What a standby reports counts as its vote, before it has promised to receive nothing more."
        "a report taken for a promise",
    VotesNotCompared "votes-not-compared"
        "Enough votes elect, and nobody compares what the voters hold."
        "an election that is in a hurry",
    OldVoteCounts "old-vote-counts"
        "A vote of an earlier epoch counts, although its node has received WAL since."
        "an epoch that is stored and not compared",
    ForkMayVote "fork-may-vote"
        "Positions are compared without a look at the timeline they are on."
        "a position without its timeline",
    TimelineNumbersCompared "timeline-numbers-compared"
        "Two histories under the same number are taken for one."
        "pg_rewind",
    VoteByReplay "vote-by-replay"
        "A standby votes with what it has replayed instead of what it holds."
        "pgaf, report_lsn after a restart",
    ReloadIsProof "reload-is-proof"
        "A reload is trusted: the receiver may live on after the vote."
        "pgconsul 199",
    MaintenanceCounts "maintenance-counts"
        "A standby in maintenance stays in the contract, and nobody asks for its vote."
        "pgaf, report_lsn and maintenance",
    FetchFromSelf "fetch-from-self"
        "The winner that lacks WAL is told to fetch it from itself."
        "pgaf, get_most_advanced_standby",
    // What commits wait for.
    DegradeUnrecorded "degrade-unrecorded"
        "A primary whose standbys are gone goes on alone by itself, and tells the monitor after."
        "Patroni, CloudNativePG preferred",
    ContractLeavesWhenTold "contract-leaves-when-told"
        "A contract leaves the record when the primary is told of its successor."
        "grow before shrink, forgotten",
    ReloadConfirmsContract "reload-confirms-contract"
        "New names count once they are written, before every backend works under them."
        "SIGHUP taken for an answer",
    MembersNotAwaited "members-not-awaited"
        "A new contract is confirmed although its members lack what was acknowledged before."
        "pgaf, secondary within 16 MiB",
    AnyStandbyAcknowledges "any-standby-acknowledges"
        "The names list every standby there is instead of the members."
        "pgaf without a monitor",
    DropLeavesContract "drop-leaves-contract"
        "A dropped node leaves the contract on record, and the primary need not have let it go."
        "pgaf, drop node --force",
    StalledStandbyCounts "stalled-standby-counts"
        "A standby that lives and doesn't stream is counted on for ever."
        "pgaf, whose stall timer is never set",
    // Who may be open.
    OpensAfterCrash "opens-after-crash"
        "A primary that crashed opens by itself under a contract."
        "Postgres under an init system",
    FenceNeverArms "fence-never-arms"
        "A primary never closes by itself."
        "pgaf, last standby contact 0",
    LonelyPrimaryCloses "lonely-primary-closes"
        "A primary that loses the monitor closes although its standbys vouch for it, or it may go on alone."
        "pgaf, when monitor and standby are away",
    LeaseStopsInSuspend "lease-stops-in-suspend"
        "The clock of keepers doesn't count the time their machine sleeps."
        "CLOCK_MONOTONIC",
    LeaseOutlivesKeeper "lease-outlives-keeper"
        "A keeper that starts again counts the lease of its earlier life anew."
        "found here by the soak",
    StartsUntold "starts-untold"
        "A keeper under a lease starts a server that went down, whether or not the monitor knows that it was down."
        "found here by the soak",
    OrphansLiveOn "orphans-live-on"
        "What a killed postmaster has left is no reason to wait: its server is down."
        "a pid file taken for the server",
    StopIsPatient "stop-is-patient"
        "A lease is over, and the stop that it asks for takes the time it takes."
        "a fast stop taken for a fence",
    LeaseEndsAfterStore "lease-ends-after-store"
        "A lease is not looked at while the keeper's record is being stored."
        "found here by the soak",
    PolicyGivesUpAll "policy-gives-up-all"
        "The policy of an async group gives up what a standby had to acknowledge as well."
        "found here by reading",
    PolicyUnbounded "policy-unbounded"
        "Once an election of an async group has begun, policy gives up whatever the winner lacks."
        "found here by reading",
    ConsentAssumed "consent-assumed"
        "An operator who asks for a failover is taken to consent to what is lost by it."
        "tools that know one kind of failover",
    LeaseNotAwaited "lease-not-awaited"
        "The old primary's lease is not waited for."
        "pgaf, asynchronous groups",
    FencedWhileBackendLives "fenced-while-backend-lives"
        "A server counts as closed when it takes no new sessions, and old ones commit on."
        "Patroni 3639, CloudNativePG 11280",
    SilenceIsDeath "silence-is-death"
        "A node whose keeper is silent is lost, whatever its Postgres and its standbys say."
        "a health check with one opinion",
    SwitchoverNotDrained "switchover-not-drained"
        "In a planned handover nobody waits for the old primary's last record."
        "pgaf, prepare_promotion",
    EpochsNotCompared "epochs-not-compared"
        "Neither keeper nor monitor compares epochs: an old monitor is obeyed."
        "pgaf has none",
    TellsBeforeStoring "tells-before-storing"
        "The monitor tells a decision before it is stored."
        "a cache with lazy writes",
    ActsBeforeStoring "acts-before-storing"
        "A keeper acts on what it has in memory, and stores it once it is at rest again."
        "a cache with lazy writes",
    UnsureStepIsUndone "unsure-step-is-undone"
        "A step that fails is taken to have done nothing."
        "found here by the soak",
    StaleSessionIsNews "stale-session-is-news"
        "A report that was overtaken on the way is taken for news."
        "messages without a number",
    StaleAnswerTaken "stale-answer-taken"
        "An answer that was overtaken on the way is obeyed."
        "messages without a number",
    // A monitor that knows less than its nodes.
    AdoptsWhoeverSpeaks "adopts-whoever-speaks"
        "A monitor without a record takes the first open node for the primary, and asks no member of its contract."
        "pgaf, after its monitor is replaced",
    OrderTakenForRole "order-taken-for-role"
        "Who led last is judged by the newest order a node has heard, and not by the last that gave it the role."
        "one epoch for two meanings",
    // What becomes of directories and WAL.
    PromotionUnguarded "promotion-unguarded"
        "A server that is restarted amid its promotion opens on its old timeline."
        "an init system beside Postgres",
    TimelineReused "timeline-reused"
        "A new primary takes the next number it can see, whoever had it before."
        "Postgres, Patroni 1251",
    RewindBeforeCheckpoint "rewind-before-checkpoint"
        "A rewind from a new primary is begun before its checkpoint, and its word is taken."
        "pg_rewind, which reads the control file",
    MarkerForgotten "marker-forgotten"
        "No mark stands while a rewind or a clone runs."
        "a rebuild that nobody interrupts",
    StartsHalfClone "starts-half-clone"
        "A clone replaces the directory file by file, and is started whether or not it is complete."
        "pg_basebackup in place",
    WalNotKeptAside "wal-not-kept-aside"
        "A rewind or clone takes away the WAL that only this node holds."
        "pgaf, after any error of pg_rewind",
    InitdbOverLostDirectory "initdb-over-lost-directory"
        "A primary whose directory is gone makes an empty one and goes on."
        "stolon 917",
    SlotsStayBehind "slots-stay-behind"
        "A standby never moves its slots for the other nodes up."
        "pgaf 283",
    SlotsOnlyAdded "slots-only-added"
        "Slots of nodes that left stay."
        "a list that only grows",
}
