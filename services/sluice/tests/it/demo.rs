//! The demo as a person runs it: with a folder of their own, on a stack that runs or does not.

use std::fs;
use std::path::Path;

use testkit::service_binary;

use crate::support::{Said, Stack};

/// A folder with files of all kinds and one that is beyond a bound.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("deep")).unwrap();
    for n in 0..20_u8 {
        fs::write(folder.path().join(format!("deep/{n}.bin")), vec![n; 1000 * usize::from(n)]).unwrap();
    }
    fs::File::create(folder.path().join("huge.iso")).unwrap().set_len((8 << 20) + 1).unwrap();
    folder
}

fn demo(stack: &Stack, folder: &Path) -> Said {
    // The demo starts its workers from beside itself.
    service_binary("queue-worker");
    stack.command(&["demo", "--dir", folder.to_str().unwrap()])
}

fn number_after(text: &str, line: &str, word: &str) -> u64 {
    let line = text.lines().find(|it| it.trim_start().starts_with(line)).unwrap();
    let number = line.split_once(word).unwrap().1.trim_start();
    number.split(|end: char| !end.is_ascii_digit()).next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_killed_worker_loses_nothing_and_a_stack_that_did_not_run_is_gone_again() {
    let (stack, folder) = (Stack::new(), folder());

    let said = demo(&stack, folder.path());

    assert_eq!(said.code, 0, "{said:?}");
    let out = &said.out;
    assert!(out.contains("huge.iso: more than 8 MiB"), "{out}");
    assert!(out.contains("20 files (0 of them made from the others)"), "{out}");
    assert!(out.contains("on demo-exports: export_project"), "{out}");
    assert!(out.contains("kill -9 ") && out.contains("(demo-worker-1) at step 2, read"), "{out}");
    assert!(number_after(out, "kill -9", "lease ends in") <= 2, "{out}");
    assert!(number_after(out, "after:", "token") > number_after(out, "before:", "token"), "{out}");
    assert_eq!((number_after(out, "before:", "crashes"), number_after(out, "after:", "crashes")), (0, 1));
    assert_eq!(number_after(out, "before:", "demo-worker-"), 1, "{out}");
    assert_eq!(number_after(out, "after:", "demo-worker-"), 2, "{out}");
    for step in ["list", "read", "pack", "upload", "verify"] {
        assert!(out.lines().any(|line| line.contains(step) && line.ends_with("completed")), "{step}: {out}");
    }
    assert!(out.contains("all 20 files are what they were, byte for byte"), "{out}");
    assert!(out.ends_with("demo: holds; the stack is stopped again\n"), "{out}");
    assert!(stack.is_gone());
}

#[tokio::test]
async fn a_stack_that_ran_before_runs_on() {
    let (stack, folder) = (Stack::new(), folder());
    let mut up = stack.up().await;

    let said = demo(&stack, folder.path());

    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.ends_with("demo: holds; the stack runs on\n"), "{said:?}");
    assert_eq!(stack.command(&["status"]).code, 0);
    assert_eq!(up.stop().await, 0);
}

#[tokio::test]
async fn a_folder_without_a_file_is_refused_before_anything_is_started() {
    let (stack, folder) = (Stack::new(), tempfile::tempdir().unwrap());
    let empty = demo(&stack, folder.path());
    assert_eq!(empty.code, 1, "{empty:?}");
    assert!(empty.errors.contains("holds no file that the demo can take"), "{empty:?}");

    assert!(!empty.out.contains("demo: holds"), "{empty:?}");
    assert!(stack.is_gone());
}
