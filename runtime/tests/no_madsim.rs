//! The production binaries are free of the simulator: not a line of it, and none of the libc symbols that
//! it puts itself before. A binary that had them would read a simulated clock in production.

use object::{Object, ObjectSymbol};
use std::process::Command;

/// What madsim defines to get hold of time and randomness.
const INTERPOSED: [&str; 8] = [
    "clock_gettime",
    "gettimeofday",
    "getrandom",
    "getentropy",
    "gethostname",
    "pthread_attr_init",
    "sched_getaffinity",
    "sysconf",
];

#[test]
fn binaries_define_no_symbol_that_the_simulator_interposes() {
    for path in [env!("CARGO_BIN_EXE_pgbaton"), env!("CARGO_BIN_EXE_pgbaton-live")] {
        let bytes = std::fs::read(path).expect("cargo has built it");
        let binary = object::File::parse(&*bytes).expect("an executable");
        let defined: Vec<&str> = binary
            .symbols()
            .chain(binary.dynamic_symbols())
            .filter(|s| s.is_definition())
            .filter_map(|s| s.name().ok())
            .collect();
        assert!(defined.contains(&"main"), "{path}: the symbols of this binary can't be seen");
        for symbol in INTERPOSED {
            assert!(!defined.contains(&symbol), "{path} defines {symbol}");
        }
        assert!(!defined.iter().any(|s| s.contains("madsim")), "{path} contains code of madsim");
    }
}

#[test]
fn madsim_is_no_dependency() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--package", "pgbaton", "--edges", "normal,build", "--prefix", "none"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8_lossy(&tree.stdout);
    assert!(tree.lines().any(|l| l.starts_with("tokio-postgres ")), "this is not the tree:\n{tree}");
    assert!(!tree.lines().any(|l| l.starts_with("madsim")), "{tree}");
}
