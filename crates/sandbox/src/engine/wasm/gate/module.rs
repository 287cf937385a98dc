//! Shapes of core modules beyond any use, and what a plain stage has to import and export.

use wasmparser::{Encoding, ExternalKind, FunctionBody, Operator, Parser, Payload, TypeRef};

use super::{at_most, invalid, refused};
use crate::engine::wasm::limit::{TABLE_ENTRIES_MAX, TABLES_MAX};
use crate::failure::Failure;

/// Most functions. CPython has about 15,000.
const FUNCTIONS_MAX: u32 = 100_000;

/// Most function types; one a function is already unusual.
const TYPES_MAX: u32 = 20_000;

/// Most globals, element segments, data segments or exports, each.
const ITEMS_MAX: u32 = 100_000;

/// Most imports: all of preview 1 is 45.
const IMPORTS_MAX: u32 = 1_000;

/// Longest function body, bytes. The largest in CPython, its interpreter loop, is about 200 KiB.
const FUNCTION_MAX_BYTES: usize = 2 * 1024 * 1024;

/// Most locals of one function. Unoptimised builds of large functions reach a few thousand.
const LOCALS_MAX: u64 = 20_000;

/// Longest custom section, bytes. Names of CPython's functions take some 2 MiB, its debugging information is not
/// published by anybody who was asked to wait for it.
const CUSTOM_MAX_BYTES: u64 = 32 * 1024 * 1024;

/// Deepest nesting of loops. People write five; 600 nested loops in 46 KB compile for 11 seconds.
const LOOP_DEPTH_MAX: usize = 64;

/// Deepest nesting of blocks. A `switch` of n cases nests n blocks, so this is generous.
const BLOCK_DEPTH_MAX: usize = 20_000;

/// Most targets of `br_table` in one function. The interpreter loop of CPython has some thousand entries.
const BRANCHES_MAX: u64 = 200_000;

/// The module whose imports are the host's.
const WASI: &str = "wasi_snapshot_preview1";

/// What may be imported from it. Nothing here reaches a socket, and nothing is preopened, so paths lead nowhere. The
/// environment is there because standard libraries import it always; it is empty.
const ALLOWED: [&str; 25] = [
    "args_get",
    "args_sizes_get",
    "clock_res_get",
    "clock_time_get",
    "environ_get",
    "environ_sizes_get",
    "fd_advise",
    "fd_close",
    "fd_fdstat_get",
    "fd_fdstat_set_flags",
    "fd_filestat_get",
    "fd_pread",
    "fd_prestat_dir_name",
    "fd_prestat_get",
    "fd_read",
    "fd_readdir",
    "fd_seek",
    "fd_tell",
    "fd_write",
    "path_filestat_get",
    "path_open",
    "poll_oneoff",
    "proc_exit",
    "random_get",
    "sched_yield",
];

/// The module of wasi-nn's first form, which modules have.
const NN: &str = "wasi_ephemeral_nn";

/// What may be imported from it by whose contract says so. `load` is there because libraries link it; it is refused when
/// it is called.
const NN_ALLOWED: [&str; 6] =
    ["compute", "get_output", "init_execution_context", "load", "load_by_name", "set_input"];

/// Checks a module and lists its imports as `module name`.
pub(super) fn check(module: &[u8], has_nn: bool) -> Result<Vec<String>, Failure> {
    let mut seen = Seen { has_nn, ..Seen::default() };
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.map_err(invalid)?;
        shape(&payload)?;
        seen.payload(payload)?;
    }
    if !seen.exports_start {
        return Err(refused("it exports no function `_start`, so it is not a WASI command"));
    }
    if !seen.exports_memory {
        return Err(refused("it exports no memory named `memory`"));
    }
    Ok(seen.imports)
}

#[derive(Default)]
struct Seen {
    imports: Vec<String>,
    exports_start: bool,
    exports_memory: bool,
    has_nn: bool,
}

impl Seen {
    fn payload(&mut self, payload: Payload<'_>) -> Result<(), Failure> {
        match payload {
            Payload::Version { encoding: Encoding::Component, .. } => {
                Err(refused("it is a component, but the manifest says command"))
            }
            Payload::ImportSection(section) => {
                section.into_imports().try_for_each(|import| self.import(import.map_err(invalid)?))
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export.map_err(invalid)?;
                    self.exports_start |=
                        export.name == "_start" && export.kind == ExternalKind::Func;
                    self.exports_memory |=
                        export.name == "memory" && export.kind == ExternalKind::Memory;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn import(&mut self, import: wasmparser::Import<'_>) -> Result<(), Failure> {
        let is_function = matches!(import.ty, TypeRef::Func(_));
        let is_allowed = match import.module {
            WASI => ALLOWED.binary_search(&import.name).is_ok(),
            NN => self.has_nn && NN_ALLOWED.binary_search(&import.name).is_ok(),
            _ => false,
        };
        if is_function && is_allowed {
            self.imports.push(format!("{} {}", import.module, import.name));
            // Compact imports count as one in the section's own count.
            return at_most("imports", self.imports.len() as u64, IMPORTS_MAX.into());
        }
        Err(Failure::ForbiddenImport {
            module: import.module.to_owned(),
            name: import.name.to_owned(),
        })
    }
}

/// Refuses a part of a core module that is beyond any use, wherever the module stands.
pub(super) fn shape(payload: &Payload<'_>) -> Result<(), Failure> {
    match payload {
        Payload::TypeSection(section) => at_most("types", section.count().into(), TYPES_MAX.into()),
        Payload::ImportSection(section) => {
            at_most("imports", section.count().into(), IMPORTS_MAX.into())
        }
        Payload::FunctionSection(section) => {
            at_most("functions", section.count().into(), FUNCTIONS_MAX.into())
        }
        Payload::TableSection(section) => {
            at_most("tables", section.count().into(), TABLES_MAX.into())?;
            for table in section.clone() {
                let entries = table.map_err(invalid)?.ty.initial;
                at_most("entries in one table", entries, TABLE_ENTRIES_MAX as u64)?;
            }
            Ok(())
        }
        Payload::GlobalSection(section) => {
            at_most("globals", section.count().into(), ITEMS_MAX.into())
        }
        Payload::ElementSection(section) => {
            at_most("element segments", section.count().into(), ITEMS_MAX.into())
        }
        Payload::DataSection(section) => {
            at_most("data segments", section.count().into(), ITEMS_MAX.into())
        }
        Payload::ExportSection(section) => {
            at_most("exports", section.count().into(), ITEMS_MAX.into())
        }
        Payload::CodeSectionEntry(body) => function(body),
        Payload::CustomSection(section) => {
            at_most("bytes in one custom section", section.data().len() as u64, CUSTOM_MAX_BYTES)
        }
        _ => Ok(()),
    }
}

fn function(body: &FunctionBody<'_>) -> Result<(), Failure> {
    at_most("bytes in one function", body.range().len() as u64, FUNCTION_MAX_BYTES as u64)?;
    let mut locals = 0_u64;
    for declaration in body.get_locals_reader().map_err(invalid)? {
        locals = locals.saturating_add(declaration.map_err(invalid)?.0.into());
    }
    at_most("locals in one function", locals, LOCALS_MAX)?;
    // One entry a block that is open: whether it is a loop.
    let mut open = Vec::new();
    let mut loops = 0_usize;
    let mut branches = 0_u64;
    for operator in body.get_operators_reader().map_err(invalid)? {
        let is_loop = match operator.map_err(invalid)? {
            Operator::Loop { .. } => true,
            Operator::BrTable { targets } => {
                branches = branches.saturating_add(targets.len().into());
                at_most("branches in one function", branches, BRANCHES_MAX)?;
                continue;
            }
            Operator::Block { .. } | Operator::If { .. } | Operator::TryTable { .. } => false,
            Operator::End => {
                loops -= usize::from(open.pop() == Some(true));
                continue;
            }
            _ => continue,
        };
        open.push(is_loop);
        loops += usize::from(is_loop);
        at_most("loops nested in each other", loops as u64, LOOP_DEPTH_MAX as u64)?;
        at_most("blocks nested in each other", open.len() as u64, BLOCK_DEPTH_MAX as u64)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_text(text: &str) -> Result<Vec<String>, Failure> {
        check(&wat::parse_str(text).unwrap(), false)
    }

    #[test]
    fn allowed_imports_are_listed_and_others_named() {
        let module = |import: &str| {
            format!(r#"(module {import} (memory (export "memory") 1) (func (export "_start")))"#)
        };
        let import = |name| format!(r#"(import "{WASI}" "{name}" (func (param i32)))"#);
        for name in ALLOWED {
            assert_eq!(check_text(&module(&import(name))), Ok(vec![format!("{WASI} {name}")]));
        }
        for name in ["sock_send", "sock_accept", "path_unlink_file", "fd_pwrite", "proc_raise"] {
            assert_eq!(
                check_text(&module(&import(name))),
                Err(Failure::ForbiddenImport { module: WASI.into(), name: name.into() })
            );
        }
        let memory = module(&format!(r#"(import "{WASI}" "fd_read" (global i32))"#));
        assert!(matches!(check_text(&memory), Err(Failure::ForbiddenImport { .. })));
    }

    #[test]
    fn the_lists_are_sorted_because_they_are_searched() {
        assert!(ALLOWED.is_sorted() && NN_ALLOWED.is_sorted());
    }

    #[test]
    fn wasi_nn_is_for_those_whose_contract_says_so() {
        for (name, is_there) in [("load_by_name", true), ("compute", true), ("get_inputs", false)] {
            let text = format!(
                r#"(module (import "{NN}" "{name}" (func))
                    (memory (export "memory") 1) (func (export "_start")))"#
            );
            let module = wat::parse_str(text).unwrap();
            let refused = Failure::ForbiddenImport { module: NN.into(), name: name.into() };
            assert_eq!(check(&module, false), Err(refused));
            assert_eq!(check(&module, true).is_ok(), is_there, "{name}");
        }
    }

    #[test]
    fn modules_that_are_no_commands_are_told_why() {
        for (text, why) in [
            (r#"(module (memory (export "memory") 1))"#, "_start"),
            (r#"(module (func (export "_start")))"#, "memory"),
            ("(component)", "component"),
        ] {
            let failure = check_text(text).unwrap_err().to_string();
            assert!(failure.contains(why), "{failure}");
        }
        assert!(matches!(check(b"\0asm\x01\0\0", false), Err(Failure::InvalidModule { .. })));
        assert!(matches!(check(b"MZ", false), Err(Failure::InvalidModule { .. })));
    }

    #[test]
    fn loops_nest_so_deep_and_no_deeper() {
        let nested = |depth: usize| {
            let body = format!("{}nop{}", "(loop ".repeat(depth), ")".repeat(depth));
            check_text(&format!(
                r#"(module (memory (export "memory") 1) (func (export "_start") {body}))"#
            ))
        };
        assert!(nested(LOOP_DEPTH_MAX).is_ok());
        assert!(nested(LOOP_DEPTH_MAX + 1).is_err());
    }

    #[test]
    fn a_function_has_so_many_locals_and_no_more() {
        let with = |count: u64| {
            let locals = "i32 ".repeat(usize::try_from(count).unwrap());
            check_text(&format!(
                r#"(module (memory (export "memory") 1) (func (export "_start") (local {locals})))"#
            ))
        };
        assert!(with(LOCALS_MAX).is_ok());
        assert!(with(LOCALS_MAX + 1).is_err());
    }
}
