//! WebAssembly modules and components: validated whole, with every feature of the standard on. What may run is another
//! question, and the engine's.

use guildhall_protocol::facts::{FACTS_MAX_ITEMS, Facts, WasmFacts};
use wasmparser::{BinaryReaderError, Encoding, Parser, Payload, Validator, WasmFeatures};

use super::problem::{Checked, Problem, refused, refused_at};
use super::source::Source;

/// Longest module that is looked at, bytes: what the engine takes.
const MODULE_MAX_BYTES: u64 = 64 << 20;

const HELP: &str = "build the module again and publish the .wasm that the compiler wrote";

/// Checks a module or component and lists what it wants and gives.
pub(super) fn check(source: &Source<'_>) -> Checked<Facts> {
    if source.len_bytes() > MODULE_MAX_BYTES {
        let why = format!("{} bytes, at most {MODULE_MAX_BYTES} are taken", source.len_bytes());
        return Err(refused(why).help(HELP));
    }
    let module = source.bytes(0, source.len_bytes())?;
    Validator::new_with_features(WasmFeatures::all()).validate_all(&module).map_err(invalid)?;
    let mut facts = WasmFacts { component: false, imports: Vec::new(), exports: Vec::new() };
    // Inside a component are modules with imports and exports of their own.
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(&module) {
        match payload.map_err(invalid)? {
            Payload::Version { encoding, .. } => {
                if depth == 0 {
                    facts.component = encoding == Encoding::Component;
                }
                depth = depth.saturating_add(1);
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ImportSection(section) if depth == 1 => {
                for import in section.into_imports() {
                    let import = import.map_err(invalid)?;
                    push(&mut facts.imports, || format!("{} {}", import.module, import.name));
                }
            }
            Payload::ExportSection(section) if depth == 1 => {
                for export in section {
                    let export = export.map_err(invalid)?;
                    push(&mut facts.exports, || export.name.to_owned());
                }
            }
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    let import = import.map_err(invalid)?;
                    push(&mut facts.imports, || import.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    let export = export.map_err(invalid)?;
                    push(&mut facts.exports, || export.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(Facts::Wasm(facts))
}

fn push(list: &mut Vec<String>, text: impl FnOnce() -> String) {
    if list.len() < FACTS_MAX_ITEMS {
        list.push(text());
    }
}

fn invalid(error: BinaryReaderError) -> Problem {
    refused_at(error.offset() as u64, format!("it is no valid WebAssembly: {}", error.message()))
        .help(HELP)
}
