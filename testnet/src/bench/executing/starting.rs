//! P10, P11: what a stage costs in a warm worker, beside wasmtime alone and beside native code.
//!
//! The engine's code runs in this process as it does in a worker: a new store, a new instance, its world, its deadline,
//! its input and output. What a call through the worker's socket costs on top is part of P9.

use std::hint::black_box;
use std::time::Instant;

use guildhall_protocol::contract::Determinism;
use guildhall_sandbox::{Measured, measure_command};

use super::{Failed, failed, native};
use crate::bench::Bench;
use crate::bench::figures::{Row, Samples};

/// A stage that does nothing.
pub(super) const EMPTY: &str = r#"(module (memory (export "memory") 1) (func (export "_start")))"#;

/// Starts of an empty stage: enough for a 99th percentile.
const STARTS: usize = 5_000;

/// Runs of a kernel.
const RUNS: usize = 21;

/// The classes, as contracts write them.
const CLASSES: [(&str, Determinism); 3] = [
    ("bitwise", Determinism::Bitwise),
    ("numeric", Determinism::Numeric),
    ("none", Determinism::None),
];

/// A fixed piece of work, as WebAssembly and as Rust.
struct Kernel {
    name: &'static str,
    /// `ROUNDS` stands for how often.
    text: &'static str,
    native: fn(u32) -> f64,
    /// How often: some 20 ms.
    rounds: u32,
}

const KERNELS: [Kernel; 3] = [
    Kernel {
        name: "SIMD dot product",
        text: include_str!("kernels/dot.wat"),
        native: native::dot,
        rounds: 30_000,
    },
    Kernel {
        name: "scalar loop",
        text: include_str!("kernels/scalar.wat"),
        native: native::scalar,
        rounds: 10_000_000,
    },
    Kernel {
        name: "tree walk",
        text: include_str!("kernels/trees.wat"),
        native: native::trees,
        rounds: 10_000,
    },
];

impl Kernel {
    fn module(&self, rounds: u32) -> Result<Vec<u8>, Failed> {
        wat::parse_str(self.text.replace("ROUNDS", &rounds.to_string())).map_err(failed)
    }
}

/// P10.
pub(super) async fn starts(bench: &Bench) -> Result<Vec<Row>, Failed> {
    let calls = bench.count(STARTS, 20);
    blocking(move || {
        let module = wat::parse_str(EMPTY).map_err(failed)?;
        let mut rows = Vec::new();
        for (class, determinism) in CLASSES {
            let measured = measure_command(&module, determinism, calls).map_err(failed)?;
            let (ours, peer) = (microseconds(&measured.ours_ns), microseconds(&measured.wasmtime_ns));
            let what = format!(
                "an empty stage of class {class} in a warm worker; peer: store, instance and call in wasmtime \
                 alone, pooling, compiled; p99 {:.1} and {:.1} us",
                ours.quantile(0.99),
                peer.quantile(0.99)
            );
            rows.push(Row::of("P10", what, &ours, "us").beside(&Ok(peer)).with_goal("<= 1.5"));
        }
        Ok(rows)
    })
    .await
}

/// P11.
pub(super) async fn kernels(bench: &Bench) -> Result<Vec<Row>, Failed> {
    let (calls, is_quick) = (bench.count(RUNS, 2), bench.settings.quick);
    blocking(move || {
        let mut rows = Vec::new();
        for kernel in &KERNELS {
            let rounds = if is_quick { kernel.rounds / 100 } else { kernel.rounds };
            let module = kernel.module(rounds)?;
            for (class, determinism) in CLASSES {
                let measured = measure_command(&module, determinism, calls).map_err(failed)?;
                let native = (0..calls).map(|_| native_ms(kernel, rounds)).collect();
                rows.extend(kernel_rows(kernel.name, class, &measured, native));
            }
        }
        Ok(rows)
    })
    .await
}

fn kernel_rows(name: &str, class: &str, measured: &Measured, native: Samples) -> [Row; 2] {
    let of = |nanoseconds: &[u64]| microseconds(nanoseconds).map(|time| time / 1e3);
    let (ours, wasmtime) = (of(&measured.ours_ns), of(&measured.wasmtime_ns));
    let row = |peer: &str, samples: Samples| {
        let what = format!("{name}, class {class}; peer: {peer}");
        Row::of("P11", what, &ours, "ms").beside(&Ok(samples))
    };
    [
        row("the same module in wasmtime alone", wasmtime).with_goal("<= 1.1"),
        row("the same in Rust", native),
    ]
}

fn native_ms(kernel: &Kernel, rounds: u32) -> f64 {
    let since = Instant::now();
    black_box((kernel.native)(black_box(rounds)));
    since.elapsed().as_secs_f64() * 1e3
}

fn microseconds(nanoseconds: &[u64]) -> Samples {
    nanoseconds.iter().map(|time| *time as f64 / 1e3).collect()
}

/// Measures away from the runtime's threads.
async fn blocking(
    measure: impl FnOnce() -> Result<Vec<Row>, Failed> + Send + 'static,
) -> Result<Vec<Row>, Failed> {
    tokio::task::spawn_blocking(measure).await.map_err(failed)?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the module of a kernel leaves at address 0.
    fn in_wasmtime(kernel: &Kernel, rounds: u32) -> f64 {
        let engine = wasmtime::Engine::default();
        let module = wasmtime::Module::new(&engine, kernel.module(rounds).unwrap()).unwrap();
        let mut store = wasmtime::Store::new(&engine, ());
        let instance = wasmtime::Instance::new(&mut store, &module, &[]).unwrap();
        let start = instance.get_typed_func::<(), ()>(&mut store, "_start").unwrap();
        start.call(&mut store, ()).unwrap();
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        f64::from_le_bytes(memory.data(&store)[..8].try_into().unwrap())
    }

    #[test]
    fn kernels_compute_the_same_in_rust_and_in_webassembly() {
        for kernel in &KERNELS {
            for rounds in [1, 2, 7] {
                let (native, wasm) = ((kernel.native)(rounds), in_wasmtime(kernel, rounds));
                assert_eq!(native.to_bits(), wasm.to_bits(), "{} {rounds}", kernel.name);
                assert!(native.abs() > 0.0, "{}", kernel.name);
            }
        }
    }
}
