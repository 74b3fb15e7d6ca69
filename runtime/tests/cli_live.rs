//! Wrong words to `pgbaton-live` are answered at once, with what would be right.

use std::process::Command;

fn refused(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_pgbaton-live")).args(args).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
    assert!(output.stdout.is_empty(), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_bench_that_makes_no_sense_is_refused_before_anything_starts() {
    let typo = refused(&["bench", "--only", "node-kiled"]);
    assert!(typo.contains("node-killed") && typo.contains("monitor-killed"), "{typo}");
    assert!(refused(&["bench", "--runs", "0"]).contains("1..=1000"));
    assert!(refused(&["bench", "monitor", "--nodes", "1"]).contains("2..=20000"));
    assert!(refused(&["bench", "monitor", "--deaths", "0"]).contains("1..=10000"));
    assert!(refused(&["bench", "--runs", "2", "monitor"]).contains("monitor"), "runs are of the other bench");
}
