//! WASI commands in text form for stages that behave, and that do not.

/// A command that reads stdin (at most 60,000 bytes, to address 1024; `$len` bytes) and then does `body`.
///
/// `(call $to FD AT LEN)` writes memory to a descriptor, `(call $exit CODE)` ends it. Address 65536 holds the text
/// `it hurts`.
#[must_use]
pub fn command(body: &str) -> String {
    format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_read"
                (func $read (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_write"
                (func $write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 4)
            (data (i32.const 65536) "it hurts")
            (func $to (param $fd i32) (param $at i32) (param $len i32)
                (i32.store (i32.const 0) (local.get $at))
                (i32.store (i32.const 4) (local.get $len))
                (drop (call $write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))))
            (func $input (result i32) (local $len i32)
                (loop $more
                    (i32.store (i32.const 16) (i32.add (i32.const 1024) (local.get $len)))
                    (i32.store (i32.const 20) (i32.sub (i32.const 60000) (local.get $len)))
                    (drop (call $read (i32.const 0) (i32.const 16) (i32.const 1) (i32.const 24)))
                    (local.set $len (i32.add (local.get $len) (i32.load (i32.const 24))))
                    (br_if $more (i32.load (i32.const 24))))
                (local.get $len))
            (func (export "_start") (local $len i32) (local $i i32)
                (local.set $len (call $input))
                {body}))"#
    )
}

/// Gives back what it gets.
#[must_use]
pub fn echo() -> String {
    command("(call $to (i32.const 1) (i32.const 1024) (local.get $len))")
}

/// Counts to `rounds`, then gives back what it gets.
#[must_use]
pub fn slow_echo(rounds: u32) -> String {
    command(&format!(
        "(loop $again
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $i) (i32.const {rounds}))))
         (call $to (i32.const 1) (i32.const 1024) (local.get $len))"
    ))
}

/// Never ends.
#[must_use]
pub fn endless() -> String {
    command("(loop (br 0))")
}

/// Does what the first byte of its input says, and yields 16 bytes when that is nothing bad: `l` loops for ever, `m`
/// takes all the memory there is, `t` breaks a rule of its machine, `x` ends with exit code 1 and words, `o` writes
/// for ever, `w` yields 12 bytes.
#[must_use]
pub fn moody() -> String {
    let when = |letter: char, then: &str| {
        format!(
            "(if (i32.eq (i32.load8_u (i32.const 1024)) (i32.const {})) (then {then}))",
            u32::from(letter)
        )
    };
    let moods = [
        when('l', "(loop (br 0))"),
        when(
            'm',
            "(loop (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable",
        ),
        when('t', "unreachable"),
        when(
            'x',
            "(call $to (i32.const 2) (i32.const 65536) (i32.const 8)) (call $exit (i32.const 1))",
        ),
        when('o', "(loop (call $to (i32.const 1) (i32.const 0) (i32.const 65536)) (br 0))"),
        when(
            'w',
            "(call $to (i32.const 1) (i32.const 70000) (i32.const 12)) (call $exit (i32.const 0))",
        ),
    ];
    command(&format!(
        "{} (call $to (i32.const 1) (i32.const 70000) (i32.const 16))",
        moods.join("\n")
    ))
}

/// Wants a socket.
#[must_use]
pub fn networked() -> String {
    r#"(module
        (import "wasi_snapshot_preview1" "sock_send"
            (func (param i32 i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "_start")))"#
        .to_owned()
}

/// A stage with so many bytes that mean nothing, so that its module is a file of its own in a store.
#[must_use]
pub fn padded(stage: &str, len: usize) -> String {
    let (inside, _) = stage.trim_end().rsplit_once(')').expect("a module ends with a bracket");
    format!("{inside}(@custom \"padding\" \"{}\"))", "x".repeat(len))
}
