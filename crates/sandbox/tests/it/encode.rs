//! Components for tests: core modules in text that keep to the ABI of `wit/stage.wit` by hand, and the encoder that
//! makes components of them. Offsets below are the canonical ABI's: a `named-value` has 88 bytes (port at 0, the case
//! of its value at 8, the value at 12, the location at 40), a result 16 (its case at 0, a list or an error at 4).

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The WIT that producers use.
const STAGE: &str = include_str!("../../../../wit/stage.wit");

/// wasi-nn, as producers get it too.
const NN: &str = include_str!("../../../../wit/deps/wasi-nn.wit");

/// As much of WASI as the modules below call.
const WASI: [&str; 5] = [
    "package wasi:clocks@0.2.0;
     interface monotonic-clock {
        use wasi:io/poll@0.2.0.{pollable};
        now: func() -> u64;
        subscribe-duration: func(when: u64) -> pollable;
     }",
    "package wasi:random@0.2.0;
     interface random { get-random-u64: func() -> u64; get-random-bytes: func(len: u64) -> list<u8>; }",
    "package wasi:cli@0.2.0;
     interface exit { exit: func(status: result); }
     interface stderr {
        use wasi:io/streams@0.2.0.{output-stream};
        get-stderr: func() -> output-stream;
     }
     interface environment {
        get-environment: func() -> list<tuple<string, string>>;
        get-arguments: func() -> list<string>;
     }",
    "package wasi:filesystem@0.2.0;
     interface types {
        flags path-flags { symlink-follow }
        flags open-flags { create, directory, exclusive, truncate }
        flags descriptor-flags { read, write, file-integrity-sync, data-integrity-sync,
            requested-write-sync, mutate-directory }
        enum error-code { access, would-block, already, bad-descriptor, busy, deadlock, quota,
            exist, file-too-large, illegal-byte-sequence, in-progress, interrupted, invalid, io,
            is-directory, loop, too-many-links, message-size, name-too-long, no-device, no-entry,
            no-lock, insufficient-memory, insufficient-space, not-directory, not-empty,
            not-recoverable, unsupported, no-tty, no-such-device, overflow, not-permitted, pipe,
            read-only, invalid-seek, text-file-busy, cross-device }
        resource descriptor {
            read: func(length: u64, offset: u64) -> result<tuple<list<u8>, bool>, error-code>;
            open-at: func(path-flags: path-flags, path: string, open-flags: open-flags,
                %flags: descriptor-flags) -> result<descriptor, error-code>;
        }
     }
     interface preopens {
        use types.{descriptor};
        get-directories: func() -> list<tuple<descriptor, string>>;
     }",
    "package wasi:sockets@0.2.0;
     interface network { resource network; }
     interface instance-network {
        use network.{network};
        instance-network: func() -> network;
     }",
];

/// Comes before the others, which use it.
const WASI_IO: &str = "package wasi:io@0.2.0;
     interface poll {
        resource pollable { ready: func() -> bool; block: func(); }
        poll: func(in: list<borrow<pollable>>) -> list<u32>;
     }
     interface error { resource error; }
     interface streams {
        use error.{error};
        variant stream-error { last-operation-failed(error), closed }
        resource output-stream {
            blocking-write-and-flush: func(contents: list<u8>) -> result<_, stream-error>;
        }
     }";

const WORLD: &str = "package test:test;
     world test {
        include guildhall:stage/stage@0.1.0;
        import wasi:clocks/monotonic-clock@0.2.0;
        import wasi:io/poll@0.2.0;
        import wasi:io/streams@0.2.0;
        import wasi:random/random@0.2.0;
        import wasi:cli/exit@0.2.0;
        import wasi:cli/stderr@0.2.0;
        import wasi:cli/environment@0.2.0;
        import wasi:filesystem/types@0.2.0;
        import wasi:filesystem/preopens@0.2.0;
        import wasi:sockets/instance-network@0.2.0;
        import wasi:nn/graph@0.2.0-rc-2024-10-28;
        import wasi:nn/inference@0.2.0-rc-2024-10-28;
        import wasi:nn/tensor@0.2.0-rc-2024-10-28;
        import wasi:nn/errors@0.2.0-rc-2024-10-28;
     }";

/// Where the template keeps the answer of `run` and `describe`.
const ANSWER: usize = 480;

/// What a test's component does beside echoing.
#[derive(Clone, Copy, Default)]
pub(crate) struct Parts<'a> {
    /// Types of the ports `in` and `out`, as `describe` says them; empty leaves them to the manifest.
    pub(crate) input: &'a str,
    pub(crate) output: &'a str,
    /// Imports, globals, data and functions of the module.
    pub(crate) items: &'a str,
    /// Runs before the echo, with `$config`, `$configs`, `$batch`, `$count` and scratch `$a`, `$b`, `$long`.
    pub(crate) body: &'a str,
    /// Runs for each record, with `$value` at its first value and `$result` at its result, already set to an echo.
    pub(crate) each: &'a str,
}

fn data(at: usize, bytes: &[u8]) -> String {
    let text: String = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
    format!("(data (i32.const {at}) \"{text}\")")
}

/// A core module with the exports of a stage. It answers each record with its first value under the name `out`.
fn module(parts: Parts<'_>) -> String {
    let Parts { input, output, items, body, each } = parts;
    let list = |at: usize, count: usize| [at as u32, count as u32].map(u32::to_le_bytes).concat();
    let data = [
        data(600, b"inout"),
        data(640, input.as_bytes()),
        data(1640, output.as_bytes()),
        data(528, &[list(600, 2), list(640, input.len())].concat()),
        data(544, &[list(602, 3), list(1640, output.len())].concat()),
        data(496, &[list(528, 1), list(544, 1)].concat()),
    ]
    .concat();
    format!(
        r#"(module
        {items}
        (memory (export "memory") 1)
        (global $free (mut i32) (i32.const 8192))
        {data}
        (func $alloc (param $len i32) (result i32) (local $at i32) (local $pages i32)
            (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
            (global.set $free (i32.add (local.get $at) (local.get $len)))
            (local.set $pages (i32.sub
                (i32.shr_u (i32.add (global.get $free) (i32.const 65535)) (i32.const 16))
                (memory.size)))
            (if (i32.gt_s (local.get $pages) (i32.const 0)) (then
                (if (i32.eq (memory.grow (local.get $pages)) (i32.const -1)) (then unreachable))))
            (local.get $at))
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
            (call $alloc (local.get 3)))
        (func $each (param $value i32) (param $result i32) (local $a i32) (local $b i32) {each})
        (func (export "guildhall:stage/scoring@0.1.0#describe") (result i32) (i32.const 496))
        (func (export "guildhall:stage/scoring@0.1.0#run")
            (param $config i32) (param $configs i32) (param $batch i32) (param $count i32)
            (result i32)
            (local $a i32) (local $b i32) (local $long i64)
            (local $i i32) (local $results i32) (local $result i32) (local $value i32)
            {body}
            (local.set $results (call $alloc (i32.mul (local.get $count) (i32.const 16))))
            (block $done (loop $next
                (br_if $done (i32.ge_u (local.get $i) (local.get $count)))
                (local.set $value (i32.load (i32.add (local.get $batch)
                    (i32.mul (local.get $i) (i32.const 8)))))
                (local.set $result (i32.add (local.get $results)
                    (i32.mul (local.get $i) (i32.const 16))))
                (i32.store (local.get $value) (i32.const 602))
                (i32.store offset=4 (local.get $value) (i32.const 3))
                (i32.store offset=4 (local.get $result) (local.get $value))
                (i32.store offset=8 (local.get $result) (i32.const 1))
                (call $each (local.get $value) (local.get $result))
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br $next)))
            (i32.store (i32.const {ANSWER}) (local.get $results))
            (i32.store offset=4 (i32.const {ANSWER}) (local.get $count))
            (i32.const {ANSWER})))"#
    )
}

/// A component of these parts.
pub(crate) fn component(parts: Parts<'_>) -> Vec<u8> {
    encode(&module(parts))
}

/// A component of any core module that keeps to the world of the tests.
pub(crate) fn encode(module: &str) -> Vec<u8> {
    let mut module = wat::parse_str(module).unwrap_or_else(|error| panic!("{error}\n{module}"));
    let mut resolve = Resolve::default();
    resolve.push_str("io.wit", WASI_IO).unwrap();
    for (at, package) in WASI.iter().enumerate() {
        resolve.push_str(format!("{at}.wit"), package).unwrap();
    }
    resolve.push_str("wasi-nn.wit", NN).unwrap();
    resolve.push_str("stage.wit", STAGE).unwrap();
    let package = resolve.push_str("test.wit", WORLD).unwrap();
    let world = resolve.select_world(&[package], Some("test")).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap()
}
