//! Modules that do what they should not: each ends with a failure, however it is started.

/// A command whose `_start` is `body`; `$to` writes memory to a descriptor.
fn command(body: &str) -> String {
    format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write"
                (func $write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "random_get"
                (func $random (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "clock_time_get"
                (func $clock (param i32 i64 i32) (result i32)))
            (import "wasi_snapshot_preview1" "poll_oneoff"
                (func $poll (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 2)
            (table $t 4 funcref)
            (type $nothing (func))
            (elem (i32.const 2) $deep)
            (func $to (param $fd i32) (param $at i32) (param $len i32) (result i32)
                (i32.store (i32.const 0) (local.get $at))
                (i32.store (i32.const 4) (local.get $len))
                (call $write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)))
            (func $deep (result i32) (i32.add (call $deep) (i32.const 1)))
            (func $ping (result i32) (i32.add (call $pong) (i32.const 1)))
            (func $pong (result i32) (i32.add (call $ping) (i32.const 1)))
            (func $wide (param i64 i64 i64 i64 i64 i64 i64 i64) (result i64)
                (i64.add (local.get 0) (call $wide (local.get 1) (local.get 2) (local.get 3)
                    (local.get 4) (local.get 5) (local.get 6) (local.get 7) (local.get 0))))
            (func (export "_start") {body}))"#
    )
}

/// What a `_start` can do wrong, by name.
const BODIES: &[(&str, &str)] = &[
    ("a loop", "(loop (br 0))"),
    (
        "a loop of calls",
        "(loop (drop (call $to (i32.const 1) (i32.const 0) (i32.const 0))) (br 0))",
    ),
    (
        "a loop of fills",
        "(loop (memory.fill (i32.const 16) (i32.const 1) (i32.const 131000)) (br 0))",
    ),
    (
        "a loop of copies",
        "(loop (memory.copy (i32.const 16) (i32.const 32) (i32.const 131000)) (br 0))",
    ),
    ("a loop of nothing grown", "(loop (drop (memory.grow (i32.const 0))) (br 0))"),
    (
        "growing and then crashing",
        "(loop (br_if 0 (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable",
    ),
    ("growing for ever", "(loop (drop (memory.grow (i32.const 16))) (br 0))"),
    ("growing by everything", "(loop (drop (memory.grow (i32.const 65535))) (br 0))"),
    (
        "growing a table for ever",
        "(loop (drop (table.grow $t (ref.null func) (i32.const 1000))) (br 0))",
    ),
    (
        "growing a table by everything",
        "(loop (drop (table.grow $t (ref.null func) (i32.const -1))) (br 0))",
    ),
    ("deep recursion", "(drop (call $deep))"),
    ("recursion of two", "(drop (call $ping))"),
    (
        "wide recursion",
        "(drop (call $wide (i64.const 1) (i64.const 1) (i64.const 1) (i64.const 1) (i64.const 1) (i64.const 1) (i64.const 1) (i64.const 1)))",
    ),
    ("a trap", "unreachable"),
    ("a division by zero", "(drop (i32.div_s (i32.const 1) (i32.const 0)))"),
    ("an overflow", "(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))"),
    ("a conversion", "(drop (i32.trunc_f32_s (f32.const nan)))"),
    ("a read outside", "(drop (i64.load (i32.const -8)))"),
    ("a write outside", "(i64.store offset=4294967295 (i32.const -1) (i64.const 1))"),
    ("a fill outside", "(memory.fill (i32.const 131000) (i32.const 1) (i32.const 131000))"),
    ("a copy outside", "(memory.copy (i32.const 131000) (i32.const 0) (i32.const 131000))"),
    ("a call of nothing", "(call_indirect (type $nothing) (i32.const 0))"),
    ("a call of something else", "(call_indirect (type $nothing) (i32.const 2))"),
    ("a call outside", "(call_indirect (type $nothing) (i32.const -1))"),
    (
        "output for ever",
        "(loop (drop (call $to (i32.const 1) (i32.const 0) (i32.const 65536))) (br 0))",
    ),
    ("too much output", "(drop (call $to (i32.const 1) (i32.const 0) (i32.const 65537)))"),
    (
        "output from outside",
        "(drop (call $to (i32.const 1) (i32.const 131000) (i32.const 131000))) unreachable",
    ),
    (
        "much on stderr",
        "(drop (call $to (i32.const 2) (i32.const 0) (i32.const 131000))) (call $exit (i32.const 1))",
    ),
    (
        "stderr for ever",
        "(loop (drop (call $to (i32.const 2) (i32.const 0) (i32.const 65536))) (br 0))",
    ),
    ("an exit code", "(call $exit (i32.const 134))"),
    ("randomness for ever", "(loop (drop (call $random (i32.const 0) (i32.const 131072))) (br 0))"),
    (
        "the time for ever",
        "(loop (drop (call $clock (i32.const 0) (i64.const 0) (i32.const 0))) (br 0))",
    ),
    (
        "waiting for ever",
        "(loop (drop (call $poll (i32.const 256) (i32.const 64) (i32.const 1) (i32.const 96))) (br 0))",
    ),
    (
        "waiting outside",
        "(drop (call $poll (i32.const -1) (i32.const -1) (i32.const 1000) (i32.const -1))) unreachable",
    ),
];

/// Every hostile module, by name.
pub(crate) fn hostile_modules() -> Vec<(String, Vec<u8>)> {
    let of_bodies = BODIES.iter().map(|(name, body)| (*name, command(body)));
    let start = r#"(func (export "_start"))"#;
    let memory = r#"(memory (export "memory") 1)"#;
    let deep = format!("{}{}", "(block ".repeat(30_000), ")".repeat(30_000));
    let whole = [
        (
            "a memory beyond its limit",
            format!(r#"(module (memory (export "memory") 1000) {start})"#),
        ),
        ("a table of millions", format!("(module {memory} (table 10000000 funcref) {start})")),
        (
            "data outside its memory",
            format!(r#"(module {memory} (data (i32.const 65530) "outside") {start})"#),
        ),
        ("no start", format!("(module {memory})")),
        ("no memory", format!("(module {start})")),
        (
            "an import of nobody's",
            format!(r#"(module (import "env" "f" (func)) {memory} {start})"#),
        ),
        (
            "a start before the start",
            format!("(module {memory} (func $s (loop (br 0))) (start $s) {start})"),
        ),
        (
            "many locals",
            format!(
                r#"(module {memory} (func (export "_start") (local {})))"#,
                "i64 ".repeat(30_000)
            ),
        ),
        ("deep blocks", format!(r#"(module {memory} (func (export "_start") {deep}))"#)),
    ];
    let text = of_bodies.chain(whole);
    let mut modules: Vec<_> =
        text.map(|(name, text)| (name.to_owned(), wat::parse_str(text).unwrap())).collect();
    let half = modules.first().map(|(_, bytes)| bytes[..bytes.len() / 2].to_vec()).unwrap();
    modules.push(("half a module".to_owned(), half));
    modules.push(("no module".to_owned(), b"\0asm\x01\0\0\0\xff\xff\xff\xff\xff".to_vec()));
    modules
}
