//! Whether a component means the interface that its manifest has.

use guildhall_protocol::interface::{Interface, Port, PortType};
use guildhall_protocol::limits::INTERFACE_MAX_PORTS;

use super::bindings::types::{Description, Port as Described};

/// Compares what `describe` said with the manifest; the first difference in words.
pub(super) fn compare(said: &Description, manifest: &Interface) -> Result<(), String> {
    side("input", &said.inputs, &manifest.inputs)?;
    side("output", &said.outputs, &manifest.outputs)
}

fn side(side: &str, said: &[Described], manifest: &[Port]) -> Result<(), String> {
    if said.len() > INTERFACE_MAX_PORTS {
        return Err(format!("`describe` has more than {INTERFACE_MAX_PORTS} {side}s"));
    }
    for port in said {
        let Some(meant) = manifest.iter().find(|other| other.name == port.name) else {
            let name = &port.name;
            return Err(format!("`describe` has an {side} `{name}`, the manifest has none"));
        };
        compare_type(side, port, &meant.port_type)?;
    }
    match manifest.iter().find(|port| !said.iter().any(|other| other.name == port.name)) {
        Some(port) => {
            Err(format!("the manifest has an {side} `{}`, `describe` has none", port.name))
        }
        None if said.len() > manifest.len() => Err(format!("`describe` has an {side} twice")),
        None => Ok(()),
    }
}

fn compare_type(side: &str, port: &Described, meant: &PortType) -> Result<(), String> {
    if port.port_type.is_empty() {
        return Ok(());
    }
    let name = &port.name;
    let said: PortType = port
        .port_type
        .parse()
        .map_err(|error| format!("`describe` on {side} `{name}`: {error}"))?;
    if said == *meant {
        return Ok(());
    }
    Err(format!("{side} `{name}` is {said} in `describe`, but {meant} in the manifest"))
}
