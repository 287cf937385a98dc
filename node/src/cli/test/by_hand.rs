//! `test --input`: one record by hand, with what the stage says on stderr: this is its developer's own machine and input.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read, Write as _};

use data_encoding::BASE64;
use guildhall_client::package::{ByteSize, Draft};
use guildhall_protocol::interface::{Interface, PortType};
use guildhall_protocol::limits::VALUE_MAX_BYTES;
use guildhall_protocol::manifest::FileEntry;
use guildhall_protocol::wire::PortValue;
use guildhall_sandbox::{Failure as Broken, PackageFiles, Scored, Spawner, Took, UNIT_TEST_SEED};
use serde_json::{Value, json};

use super::super::{Context, Failure, exit};
use super::checks::{self, beside, open};

/// What one record led to.
pub(super) struct Tried {
    scored: Result<Scored, Broken>,
    /// What the stage wrote to stderr.
    said: String,
}

/// Reads what was given as `--input`, a value for each port. Blocks while it reads.
pub(super) fn read(given: &[String], interface: &Interface) -> Result<Vec<PortValue>, Failure> {
    given.iter().map(|text| one(text, interface)).collect()
}

/// `[PORT=]FILE`. What is there as a file is a file, whatever else its name could mean.
fn one(text: &str, interface: &Interface) -> Result<PortValue, Failure> {
    let usage = |message: String| {
        let ports: Vec<&str> = interface.inputs.iter().map(|port| port.name.as_str()).collect();
        Failure::new(exit::USAGE, message).with_cause(format!("its inputs: {}", ports.join(", ")))
    };
    let is_file = |text: &str| text == "-" || std::path::Path::new(text).exists();
    let (port, path) = match text.split_once('=').filter(|_| !is_file(text)) {
        Some((port, path)) => (port, path),
        None => match interface.inputs.as_slice() {
            [port] => (port.name.as_str(), text),
            _ => return Err(usage("it has several inputs: say which, as in PORT=FILE".into())),
        },
    };
    if interface.input(port).is_none() {
        return Err(usage(format!("it has no input `{port}`")));
    }
    let unreadable = |error: io::Error| {
        let code = match error.kind() {
            io::ErrorKind::NotFound => exit::NOT_FOUND,
            _ => exit::FAILED,
        };
        Failure::new(code, format!("cannot read {path}")).with_cause(error.to_string())
    };
    let source: Box<dyn Read> = match path {
        "-" => Box::new(io::stdin()),
        path => Box::new(File::open(path).map_err(unreadable)?),
    };
    let most = u64::try_from(VALUE_MAX_BYTES).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    source.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > VALUE_MAX_BYTES {
        let message = format!("{path} is longer than a record may be, {}", ByteSize(most));
        return Err(Failure::new(exit::REFUSED, message));
    }
    Ok(PortValue::new(port.to_owned(), bytes))
}

/// Scores the record as a node would, under the contract. Blocks on a worker.
pub(super) fn score(
    spawner: &Spawner,
    draft: &Draft,
    config: &BTreeMap<String, String>,
    inputs: Vec<PortValue>,
) -> Tried {
    let manifest = draft.manifest();
    let open = |entry: &FileEntry| open(draft.files(), entry);
    let files = PackageFiles { manifest, open: &open };
    let mut worker = match spawner.start(&files, &checks::limits(manifest), config, UNIT_TEST_SEED)
    {
        Ok(worker) => worker,
        Err(failure) => return Tried { scored: Err(failure), said: String::new() },
    };
    let scored = worker.score(inputs);
    // A worker that had to be killed has lost what was said.
    let said = worker.said().unwrap_or_default();
    Tried { scored, said: String::from_utf8_lossy(&said).into_owned() }
}

/// Shows what came out: values on stdout, words on stderr.
pub(super) fn show(context: &Context, draft: &Draft, tried: Tried) -> Result<(), Failure> {
    let output = &context.output;
    let limits = checks::limits(draft.manifest());
    let Tried { scored, said } = tried;
    if !output.is_json() {
        said.lines().for_each(|line| output.note(&format!("stderr: {line}")));
    }
    let scored = match scored {
        Ok(scored) => scored,
        Err(failure) => {
            if output.is_json() {
                output.json(&json!({ "outputs": null, "stderr": said }))?;
            }
            return Err(
                Failure::new(exit::FAILED, failure.to_string()).with_help_if(checks::fix(&failure))
            );
        }
    };
    let took = Took::of(&scored);
    if output.is_json() {
        let outputs: Vec<Value> = scored.outputs.iter().map(value).collect();
        return output.json(&json!({
            "outputs": outputs,
            "stderr": said,
            "wall_us": scored.wall_us,
            "cpu_us": scored.cpu_us,
            "memory_peak_bytes": scored.memory_peak_bytes,
        }));
    }
    let interface = &draft.manifest().interface;
    for found in &scored.outputs {
        let port = interface.outputs.iter().find(|port| port.name == found.port);
        let is_text = port.is_some_and(|port| is_text(&port.port_type));
        match std::str::from_utf8(&found.bytes) {
            Ok(text) if is_text => output.lines(text.lines())?,
            _ if scored.outputs.len() == 1 && !io::stdout().is_terminal() => raw(&found.bytes)?,
            _ => {
                let size = ByteSize(found.bytes.len() as u64);
                output.note(&format!(
                    "{}: {size} that are no text; with one output they go into a file: > FILE",
                    found.port
                ));
            }
        }
    }
    output.note(&format!("took {}", beside(&took, &limits)));
    Ok(())
}

/// Whether values of this type are text in their plain form.
fn is_text(port_type: &PortType) -> bool {
    matches!(
        port_type,
        PortType::Text | PortType::Json(_) | PortType::Prediction(_) | PortType::Table(_)
    )
}

/// A value for scripts: text where it is one, else Base64.
fn value(found: &PortValue) -> Value {
    match std::str::from_utf8(&found.bytes) {
        Ok(text) => json!({ "port": found.port, "text": text }),
        Err(_) => json!({ "port": found.port, "base64": BASE64.encode(&found.bytes) }),
    }
}

/// Bytes as they are.
fn raw(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::unheard(),
        _ => Failure::from_error(exit::FAILED, &error),
    })
}
