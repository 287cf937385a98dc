//! Lines to copy: the same package by command line, by HTTP and in Python.

use std::path::Path;

use guildhall_client::shell_quote;
use guildhall_protocol::api::Detail;
use guildhall_protocol::interface::Port;
use guildhall_protocol::manifest::Kind;

/// Lines under a heading.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Snippet {
    /// What they do.
    pub(super) title: &'static str,
    /// The lines.
    pub(super) lines: Vec<String>,
}

/// What one does with a package. `api` is the node's URL; `needs_token` when it wants one.
pub(super) fn of(detail: &Detail, api: &str, needs_token: bool) -> Vec<Snippet> {
    let reference = &detail.reference;
    let kind = detail.listing.kind;
    let mut snippets = Vec::new();
    let is_run = matches!(kind, Kind::Algorithm | Kind::Model | Kind::Pipeline);
    if is_run {
        let inputs = inputs(&detail.listing.interface.inputs);
        snippets
            .push(Snippet { title: "run", lines: vec![format!("guild run {reference} {inputs}")] });
    }
    snippets.push(Snippet { title: "files", lines: vec![format!("guild get {reference}")] });
    if kind == Kind::Data {
        let line = format!("guild run ORG/MODEL --input {reference}");
        snippets.push(Snippet { title: "run a model over it", lines: vec![line] });
    }
    let header = if needs_token { " -H \"authorization: Bearer $GUILD_TOKEN\"" } else { "" };
    // A `+` in a version would be a blank in an address.
    let encoded = reference.to_string().replace('+', "%2B");
    snippets.push(Snippet {
        title: "curl",
        lines: vec![
            format!("curl -s{header} '{api}/api/v1/show?ref={encoded}'"),
            format!(
                "curl -s{header} -H 'content-type: application/json' -d '{{\"ref\":\"{reference}\"}}' {api}/api/v1/fetch"
            ),
        ],
    });
    let python = if is_run { run_in_python(detail) } else { fetch_in_python(detail) };
    let imports = if is_run { "import base64, requests, time" } else { "import requests" };
    let mut lines = vec![
        imports.to_owned(),
        format!("api = \"{api}/api/v1\""),
        "node = requests.Session()".to_owned(),
    ];
    if needs_token {
        lines.insert(0, "import os".to_owned());
        let line = "node.headers[\"authorization\"] = \"Bearer \" + os.environ[\"GUILD_TOKEN\"]";
        lines.push(line.to_owned());
    }
    lines.extend(python);
    snippets.push(Snippet { title: "python", lines });
    snippets
}

/// The inputs of a run: one goes without its name.
fn inputs(ports: &[Port]) -> String {
    let needed: Vec<&Port> = ports.iter().filter(|port| !port.optional).collect();
    match needed.as_slice() {
        [] | [_] => "--input FILE".to_owned(),
        several => {
            let named = several
                .iter()
                .map(|port| format!("--input {}", quoted(&format!("{}=FILE", port.name))));
            named.collect::<Vec<_>>().join(" ")
        }
    }
}

/// A stranger's word as one that a shell takes for nothing else.
pub(super) fn quoted(word: &str) -> String {
    shell_quote(Path::new(word))
}

fn run_in_python(detail: &Detail) -> Vec<String> {
    let reference = &detail.reference;
    [
        "value = base64.b64encode(open(\"FILE\", \"rb\").read()).decode()".to_owned(),
        format!("job = {{\"ref\": \"{reference}\", \"on\": \"auto\","),
        "       \"input\": {\"records\": [{\"name\": \"FILE\", \"value\": value}]}}".to_owned(),
        "run = node.post(f\"{api}/runs\", json=job).json()[\"run_id\"]".to_owned(),
        "while (state := node.get(f\"{api}/runs/{run}\").json()[\"state\"]) == \"running\":"
            .to_owned(),
        "    time.sleep(0.2)".to_owned(),
        "print(state, node.get(f\"{api}/runs/{run}/outputs\").text)".to_owned(),
    ]
    .into()
}

fn fetch_in_python(detail: &Detail) -> Vec<String> {
    let reference = &detail.reference;
    [
        format!("got = node.post(f\"{{api}}/fetch\", json={{\"ref\": \"{reference}\"}}).json()"),
        "for file in got[\"manifest\"][\"files\"]:".to_owned(),
        "    content = node.get(f\"{api}/blobs/{file['hash']}\").content".to_owned(),
        "    print(file[\"name\"], len(content))".to_owned(),
    ]
    .into()
}
