//! What a component has to import and export, and how far it may nest. The modules inside it have the bounds of plain
//! ones; what they import is the component's own affair.

use wasmparser::{ComponentTypeRef, Encoding, Parser, Payload};

use super::{Granted, at_most, invalid, module, refused};
use crate::failure::Failure;

/// Most modules and components inside a component, at any depth. A Python stage has about forty.
const PARTS_MAX: u64 = 256;

/// Deepest nesting of components. Toolchains nest two or three.
const DEPTH_MAX: u64 = 16;

/// Most items in one section of a component. A Python stage has a few thousand aliases.
const ITEMS_MAX: u64 = 100_000;

/// What a stage exports, without its version.
const SCORING: &str = "guildhall:stage/scoring";

/// The versions of our package that are served: what differs behind the second dot stays compatible.
const STAGE_VERSION: &str = "0.1.";

/// The versions of WASI that are served.
const WASI_VERSION: &str = "0.2.";

/// The interfaces of WASI that lead nowhere outside.
const ALLOWED: [&str; 20] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
];

/// Our own interfaces.
const OWN: [&str; 2] = ["guildhall:stage/host", "guildhall:stage/types"];

/// wasi-nn, for those whose contract says so. Its versions are drafts, each different from the others.
const NN: [&str; 4] = ["wasi:nn/errors", "wasi:nn/graph", "wasi:nn/inference", "wasi:nn/tensor"];

/// The draft that is served.
const NN_VERSION: &str = "0.2.0-rc-2024-10-28";

/// WASI's sockets, all of them: what a runtime that was built with the whole of WASI names.
const SOCKETS: [&str; 7] = [
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// Checks a component and lists its imports as `package/interface@version`.
pub(super) fn check(component: &[u8], granted: Granted) -> Result<Vec<String>, Failure> {
    let mut seen = Seen { granted, ..Seen::default() };
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload.map_err(invalid)?;
        module::shape(&payload)?;
        seen.payload(payload)?;
    }
    if seen.exports_scoring {
        return Ok(seen.imports);
    }
    Err(refused(format!(
        "it exports no `{SCORING}@{STAGE_VERSION}0`: build it for the world `stage` of wit/stage.wit"
    )))
}

#[derive(Default)]
struct Seen {
    imports: Vec<String>,
    exports_scoring: bool,
    /// How deep the current payload is: 1 is the component itself.
    depth: u64,
    parts: u64,
    granted: Granted,
}

impl Seen {
    fn payload(&mut self, payload: Payload<'_>) -> Result<(), Failure> {
        match payload {
            Payload::Version { encoding, .. } => {
                if self.depth == 0 && encoding == Encoding::Module {
                    return Err(refused("it is a plain module, but the manifest says component"));
                }
                self.depth = self.depth.saturating_add(1);
                self.parts = self.parts.saturating_add(1);
                at_most("components nested in each other", self.depth, DEPTH_MAX)?;
                at_most("modules and components inside", self.parts, PARTS_MAX)
            }
            Payload::End(_) => {
                self.depth = self.depth.saturating_sub(1);
                Ok(())
            }
            Payload::ComponentImportSection(section) => {
                at_most("imports", section.count().into(), ITEMS_MAX)?;
                if self.depth > 1 {
                    return Ok(());
                }
                for import in section {
                    let import = import.map_err(invalid)?;
                    self.import(import.name.name, import.ty)?;
                }
                Ok(())
            }
            Payload::ComponentExportSection(section) => {
                at_most("exports", section.count().into(), ITEMS_MAX)?;
                for export in section {
                    let name = export.map_err(invalid)?.name.name;
                    self.exports_scoring |=
                        self.depth == 1 && is_version(name, SCORING, STAGE_VERSION);
                }
                Ok(())
            }
            Payload::ComponentTypeSection(section) => {
                at_most("types", section.count().into(), ITEMS_MAX)
            }
            Payload::ComponentAliasSection(section) => {
                at_most("aliases", section.count().into(), ITEMS_MAX)
            }
            Payload::ComponentInstanceSection(section) => {
                at_most("instances", section.count().into(), ITEMS_MAX)
            }
            Payload::ComponentCanonicalSection(section) => {
                at_most("adapted functions", section.count().into(), ITEMS_MAX)
            }
            Payload::CoreTypeSection(section) => {
                at_most("core types", section.count().into(), ITEMS_MAX)
            }
            Payload::InstanceSection(section) => {
                at_most("core instances", section.count().into(), ITEMS_MAX)
            }
            _ => Ok(()),
        }
    }

    fn import(&mut self, name: &str, ty: ComponentTypeRef) -> Result<(), Failure> {
        let is_instance = matches!(ty, ComponentTypeRef::Instance(_));
        let is_allowed = ALLOWED.iter().any(|one| is_version(name, one, WASI_VERSION))
            || OWN.iter().any(|one| is_version(name, one, STAGE_VERSION))
            || self.granted.nn && NN.iter().any(|one| is_version(name, one, NN_VERSION))
            || self.granted.closed_sockets
                && SOCKETS.iter().any(|one| is_version(name, one, WASI_VERSION));
        if is_instance && is_allowed {
            self.imports.push(name.to_owned());
            return Ok(());
        }
        let (module, name) = name.split_once('/').unwrap_or(("", name));
        Err(Failure::ForbiddenImport { module: module.to_owned(), name: name.to_owned() })
    }
}

/// Whether `name` is this interface in a version that begins so.
fn is_version(name: &str, interface: &str, version: &str) -> bool {
    name.strip_prefix(interface)
        .and_then(|rest| rest.strip_prefix('@'))
        .is_some_and(|found| found.starts_with(version))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_text(text: &str) -> Result<Vec<String>, Failure> {
        check(&wat::parse_str(text).unwrap(), Granted::default())
    }

    #[test]
    fn what_leads_outside_is_refused_by_name() {
        for (import, module, name) in [
            ("wasi:sockets/tcp@0.2.0", "wasi:sockets", "tcp@0.2.0"),
            ("wasi:http/outgoing-handler@0.2.3", "wasi:http", "outgoing-handler@0.2.3"),
            ("wasi:cli/stdin@0.3.0", "wasi:cli", "stdin@0.3.0"),
            ("wasi:cli/run@0.2.0", "wasi:cli", "run@0.2.0"),
            ("guildhall:stage/host@0.2.0", "guildhall:stage", "host@0.2.0"),
            ("someone:else/thing", "someone:else", "thing"),
        ] {
            let text = format!(r#"(component (import "{import}" (instance)))"#);
            let expected = Failure::ForbiddenImport { module: module.into(), name: name.into() };
            assert_eq!(check_text(&text), Err(expected));
        }
        let function = r#"(component (import "f" (func)))"#;
        assert!(matches!(check_text(function), Err(Failure::ForbiddenImport { .. })));
    }

    #[test]
    fn wasi_nn_is_for_those_whose_contract_says_so_and_in_one_version() {
        for (version, is_there) in [(NN_VERSION, true), ("0.2.0-rc-2024-06-25", false)] {
            let text = format!(r#"(component (import "wasi:nn/graph@{version}" (instance)))"#);
            let component = wat::parse_str(text).unwrap();
            let is_refused = |nn| {
                let granted = Granted { nn, ..Granted::default() };
                matches!(check(&component, granted), Err(Failure::ForbiddenImport { .. }))
            };
            assert!(is_refused(false));
            assert_eq!(is_refused(true), !is_there, "{version}");
        }
    }

    #[test]
    fn sockets_may_be_named_where_the_contract_grants_it_and_nothing_else_of_a_network() {
        for (import, is_there) in [
            ("wasi:sockets/tcp@0.2.0", true),
            ("wasi:sockets/udp-create-socket@0.2.9", true),
            ("wasi:sockets/types@0.3.0", false),
            ("wasi:sockets/tls@0.2.0", false),
            ("wasi:http/outgoing-handler@0.2.0", false),
        ] {
            let text = format!(r#"(component (import "{import}" (instance)))"#);
            let component = wat::parse_str(text).unwrap();
            let is_refused = |closed_sockets| {
                let granted = Granted { closed_sockets, ..Granted::default() };
                matches!(check(&component, granted), Err(Failure::ForbiddenImport { .. }))
            };
            assert!(is_refused(false), "{import}");
            assert_eq!(is_refused(true), !is_there, "{import}");
        }
    }

    #[test]
    fn a_component_that_scores_nothing_is_told_what_to_export() {
        let text = r#"(component (import "wasi:io/poll@0.2.6" (instance)))"#;
        let why = check_text(text).unwrap_err().to_string();
        assert!(why.contains("guildhall:stage/scoring@0.1.0"), "{why}");
        let why = check_text("(module)").unwrap_err().to_string();
        assert!(why.contains("plain module"), "{why}");
    }

    #[test]
    fn components_nest_so_deep_and_no_deeper() {
        let nested = |depth: usize| {
            check_text(&format!("{}{}", "(component ".repeat(depth), ")".repeat(depth)))
                .unwrap_err()
                .to_string()
        };
        let most = usize::try_from(DEPTH_MAX).unwrap();
        assert!(nested(most).contains("exports no"));
        assert!(nested(most + 1).contains("nested"));
        let many = format!("(component {})", "(core module)".repeat(300));
        assert!(check_text(&many).unwrap_err().to_string().contains("inside"));
    }
}
