//! The documentation is enough for a stranger: a Python script that shares no code with us verifies what we write, and
//! refuses what was changed.
//!
//! Needs `python3` on the path with `blake3`, `pynacl` and `cbor2`:
//! `python3 -m venv V && V/bin/pip install blake3 pynacl cbor2`, then `PATH=$PWD/V/bin:$PATH cargo test`. Without them
//! the tests say so and pass, unless `GUILDHALL_REQUIRE_PYTHON` is set, as continuous integration should.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::messages;
use guildhall_protocol::cbor;
use guildhall_protocol::record::Record;

/// `python3`, if it has what the script imports.
fn python() -> Option<Command> {
    let imports = Command::new("python3").args(["-c", "import blake3, cbor2, nacl"]).output();
    if imports.is_ok_and(|output| output.status.success()) {
        return Some(Command::new("python3"));
    }
    assert!(
        std::env::var_os("GUILDHALL_REQUIRE_PYTHON").is_none(),
        "python3 with blake3, pynacl and cbor2 is required here"
    );
    #[expect(clippy::print_stderr, reason = "a skipped test should say so")]
    {
        eprintln!("skipped: python3 with blake3, pynacl and cbor2 is not on the path");
    }
    None
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/verify.py")
}

/// What the script says about `bytes`.
fn verify(what: &str, name: &str, bytes: &[u8]) -> Option<Output> {
    let file = std::env::temp_dir().join(format!("guildhall-{}-{name}", std::process::id()));
    std::fs::write(&file, bytes).expect("writes");
    let output = python()?.arg(script()).arg(what).arg(&file).output().expect("runs");
    std::fs::remove_file(&file).expect("removes");
    Some(output)
}

/// One bit flipped in each of `count` places, spread over all of `bytes`.
fn flipped(bytes: &[u8], count: usize) -> impl Iterator<Item = Vec<u8>> {
    (0..count).map(move |number| {
        let mut bytes = bytes.to_vec();
        let bit = number * (bytes.len() * 8 - 1) / (count - 1);
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    })
}

#[test]
fn python_verifies_records_and_refuses_changed_ones() {
    for (name, record) in messages::records() {
        for record in [record.clone(), record.without_body()] {
            let Some(output) = verify("record", name, record.bytes()) else { return };
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{output:?}");
            assert!(said.contains(&record.id().to_string()) && said.contains(name), "{said}");
        }
    }
    let (_, release) = messages::records().swap_remove(4);
    for bytes in flipped(release.bytes(), 12) {
        assert!(Record::open(&bytes).is_err());
        let Some(output) = verify("record", "flipped", &bytes) else { return };
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(output.stderr.starts_with(b"does not hold: "), "{output:?}");
    }
}

#[test]
fn python_verifies_receipts_and_refuses_changed_ones() {
    let bytes = cbor::encode(&messages::receipt());
    let Some(output) = verify("receipt", "receipt", &bytes) else { return };
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains(&messages::run_id().to_string()), "{said}");
    for bytes in flipped(&bytes, 12) {
        let Some(output) = verify("receipt", "flipped-receipt", &bytes) else { return };
        assert_eq!(output.status.code(), Some(1), "{output:?}");
    }
    let mut other = messages::receipt();
    other.jobs.reverse();
    let Some(output) = verify("receipt", "reversed", &cbor::encode(&other)) else { return };
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}
