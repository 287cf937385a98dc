//! A proposal as the lines of a `guild.toml`.

use std::fmt::Write as _;

use guildhall_protocol::contract::Contract;
use guildhall_protocol::interface::{Interface, Port};
use guildhall_protocol::manifest::{Binding, Code, NamedModel, RecordSet};
use serde::Serialize;

use super::super::size::ByteSize;
use super::{Proposal, Proposed, Source};

impl Proposal {
    /// What a `guild.toml` must say so that nothing needs to be proposed again: the one that is there, as it is, with
    /// the missing keys before it and the missing tables behind it.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut key = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                line(&mut text, &format!("{name} = {value}"));
            }
        };
        key("kind", new(self.kind.as_ref()).map(|kind| inline(kind.as_str())));
        key("name", new(self.name.as_ref()).map(|name| inline(name.as_str())));
        key("version", new(self.version.as_ref()).map(|version| inline(&version.to_string())));
        key("categories", new(self.categories.as_ref()).map(inline));
        key("summary", new(self.summary.as_ref()).map(inline));
        key("keywords", new(self.keywords.as_ref()).map(inline));
        key("licence", new(self.licence.as_ref()).map(inline));
        key("visibility", new(self.visibility.as_ref()).map(inline));
        key("sensitive", new(self.sensitive.as_ref()).map(inline));
        key("replicas", new(self.replicas.as_ref()).map(inline));
        if let Some(written) = &self.written {
            if !text.is_empty() && !written.trim_start().is_empty() {
                text.push('\n');
            }
            text.push_str(written);
            if !written.is_empty() && !written.ends_with('\n') {
                text.push('\n');
            }
        }
        if let Some(interface) = new(self.interface.as_ref()) {
            ports(&mut text, interface);
        }
        if let Some(contract) = new(self.contract.as_ref()) {
            limits(&mut text, contract);
        }
        if let Some(code) = new(self.code.as_ref()) {
            engine(&mut text, code);
        }
        if let Some(records) = new(self.records.as_ref()) {
            record_set(&mut text, records);
        }
        if let Some(claims) = new(self.accuracy.as_ref()) {
            line(&mut text, "\n[claims]");
            line(&mut text, &format!("accuracy = {}", inline(claims)));
        }
        text
    }
}

/// What is not written yet.
fn new<T>(proposed: Option<&Proposed<T>>) -> Option<&T> {
    let is_new = |said: &&Proposed<T>| !matches!(said.from, Source::Written | Source::GivenInstead);
    proposed.filter(is_new).map(|said| &said.value)
}

/// A value on one line.
fn inline<T: Serialize + ?Sized>(value: &T) -> String {
    // Our types hold texts, numbers and lists of them, all of which TOML can say.
    toml::Value::try_from(value).map(|value| value.to_string()).unwrap_or_default()
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// A size as a person would write it, exact in any case.
fn size(bytes: u64) -> String {
    if bytes > 0 && bytes.is_multiple_of(1 << 10) {
        let shown = ByteSize(bytes).to_string();
        if shown.parse() == Ok(ByteSize(bytes)) {
            return inline(&shown);
        }
    }
    bytes.to_string()
}

fn ports(text: &mut String, interface: &Interface) {
    for (side, ports) in [("inputs", &interface.inputs), ("outputs", &interface.outputs)] {
        for Port { name, port_type, optional, location } in ports {
            // Writing to a string does not fail.
            let _ = write!(text, "\n[[interface.{side}]]\nname = {}\n", inline(name));
            line(text, &format!("type = {}", inline(port_type)));
            if *optional {
                line(text, "optional = true");
            }
            if let Some(location) = location {
                line(text, &format!("location = {}", inline(location)));
            }
        }
    }
}

fn limits(text: &mut String, contract: &Contract) {
    line(text, "\n[contract] # guessed: measure, then leave some room");
    line(text, &format!("scoring_ms = {}", contract.scoring_ms));
    line(text, &format!("measured_on = {}", inline(&contract.measured_on)));
    line(text, &format!("memory = {}", size(contract.memory_bytes)));
    line(text, &format!("output = {}", size(contract.output_bytes)));
    line(text, &format!("batch_max = {}", contract.batch_max));
    for (name, ms) in [("total_ms", contract.total_ms), ("queue_ms", contract.queue_ms)] {
        if let Some(ms) = ms {
            line(text, &format!("{name} = {ms}"));
        }
    }
    line(text, &format!("determinism = {}", inline(&contract.determinism)));
}

fn engine(text: &mut String, code: &Code) {
    match code {
        Code::Command(command) => {
            line(text, "\n[code.command]");
            line(text, &format!("module = {}", inline(&command.module)));
            models(text, &command.models);
        }
        Code::Onnx(onnx) => {
            line(text, "\n[code.onnx]");
            line(text, &format!("model = {}", inline(&onnx.model)));
            if let Some(engine) = &onnx.engine {
                line(text, &format!("engine = {}", inline(engine)));
            }
            for (side, bindings) in [("inputs", &onnx.inputs), ("outputs", &onnx.outputs)] {
                let bound: Vec<String> = bindings.iter().map(binding).collect();
                line(text, &format!("{side} = [{}]", bound.join(", ")));
            }
        }
        Code::Component(component) => {
            line(text, "\n[code.component]");
            line(text, &format!("component = {}", inline(&component.component)));
            models(text, &component.models);
        }
        // No other code is ever proposed.
        _ => {}
    }
}

fn models(text: &mut String, models: &[NamedModel]) {
    if models.is_empty() {
        return;
    }
    let model = |model: &NamedModel| {
        let (name, file) = (inline(&model.name), inline(&model.model));
        match &model.engine {
            Some(engine) => {
                format!("{{ name = {name}, model = {file}, engine = {} }}", inline(engine))
            }
            None => format!("{{ name = {name}, model = {file} }}"),
        }
    };
    let models: Vec<String> = models.iter().map(model).collect();
    line(text, &format!("models = [{}]", models.join(", ")));
}

fn binding(binding: &Binding) -> String {
    format!("{{ port = {}, tensor = {} }}", inline(&binding.port), inline(&binding.tensor))
}

fn record_set(text: &mut String, records: &RecordSet) {
    line(text, "\n[records]");
    line(text, &format!("port = {}", inline(&records.port)));
    line(text, &format!("folder = {}", inline(&records.folder)));
    if let Some(labels) = &records.labels {
        line(text, &format!("labels = {}", inline(labels)));
    }
}
