//! A build with `panic = "abort"` is refused.

use std::process::{Command, Output};

fn compile(panic: &str) -> Output {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/supervision/unwind_only.rs");
    Command::new("rustc")
        .args(["--crate-type=lib", "--emit=metadata", "--out-dir", env!("CARGO_TARGET_TMPDIR")])
        .arg(format!("-Cpanic={panic}"))
        .arg(source)
        .output()
        .unwrap()
}

#[test]
fn panic_abort_does_not_compile() {
    assert!(compile("unwind").status.success());
    let refused = compile("abort");
    assert!(!refused.status.success());
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(error.contains("supervision needs panic = \"unwind\""), "{error}");
}
