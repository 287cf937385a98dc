//! Packages that a test writes itself: a folder with a `guild.toml`.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use guildhall_client::Client;
use guildhall_client::package::read_dir;
use guildhall_launch::Node;
use guildhall_protocol::api::Published;

/// A package before it is written to a folder.
#[derive(Clone, Debug)]
pub struct Package {
    name: String,
    version: String,
    /// Keys of the top level, which TOML wants before any table.
    head: String,
    tables: String,
    files: Vec<(String, Vec<u8>)>,
}

/// The type of any bytes, as `guild.toml` writes it.
const BYTES: &str = "{ bytes = {} }";

impl Package {
    fn new(kind: &str, name: &str, category: &str) -> Self {
        let head = format!(
            "kind = \"{kind}\"\ncategories = [\"{category}\"]\nlicence = \"CC0-1.0\"\n\
             summary = \"Made by a test.\"\n"
        );
        Self {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            head,
            tables: String::new(),
            files: Vec::new(),
        }
    }

    /// A data package without records.
    #[must_use]
    pub fn data(name: &str) -> Self {
        Self::new("data", name, "vision/image-classification")
    }

    /// A data package of another category.
    #[must_use]
    pub fn data_in(name: &str, category: &str) -> Self {
        Self::new("data", name, category)
    }

    /// An algorithm from any bytes to any bytes: a WASI command in text form.
    #[must_use]
    pub fn stage(name: &str, wat: &str) -> Self {
        Self::typed_stage(name, wat, BYTES, BYTES)
    }

    /// An algorithm with an input and an output of these types, written as in `guild.toml`.
    #[must_use]
    pub fn typed_stage(name: &str, wat: &str, input: &str, output: &str) -> Self {
        let module = wat::parse_str(wat).unwrap_or_else(|error| panic!("{error}"));
        Self::new("algorithm", name, "vision/x-conditioning")
            .table(&format!("[[interface.inputs]]\nname = \"in\"\ntype = {input}"))
            .table(&format!("[[interface.outputs]]\nname = \"out\"\ntype = {output}"))
            .table("[code.command]\nmodule = \"stage.wasm\"")
            .file("stage.wasm", module)
    }

    /// Adds a contract: milliseconds for a record, memory and output in bytes.
    #[must_use]
    pub fn contract(self, scoring_ms: u64, memory: u64, output: u64) -> Self {
        self.table(&format!(
            "[contract]\nscoring_ms = {scoring_ms}\nmeasured_on = \"a test\"\nmemory = {memory}\n\
             output = {output}\ndeterminism = \"bitwise\""
        ))
    }

    /// Adds a unit test: what goes in, what has to come out.
    #[must_use]
    pub fn test(self, name: &str, input: &[u8], output: &[u8]) -> Self {
        let (into, out) = (format!("tests/{name}.in"), format!("tests/{name}.out"));
        self.table(&format!(
            "[[tests]]\nname = \"{name}\"\ninputs = [{{ port = \"in\", file = \"{into}\" }}]\n\
             outputs = [{{ port = \"out\", file = \"{out}\" }}]"
        ))
        .file(&into, input)
        .file(&out, output)
    }

    /// A pipeline of these packages.
    #[must_use]
    pub fn pipeline(name: &str, stages: &[(&str, &str)]) -> Self {
        let mut package = Self::new("pipeline", name, "vision/image-classification");
        for (stage, reference) in stages {
            package = package
                .table(&format!("[[stages]]\nname = \"{stage}\"\npackage = \"{reference}\""));
        }
        package
    }

    /// Says that the files in `records/` are records of any bytes.
    #[must_use]
    pub fn with_records(self) -> Self {
        self.table(&format!("[[interface.outputs]]\nname = \"out\"\ntype = {BYTES}"))
            .table("[records]\nport = \"out\"\nfolder = \"records\"")
    }

    /// Another version.
    #[must_use]
    pub fn at(mut self, version: &str) -> Self {
        version.clone_into(&mut self.version);
        self
    }

    /// Adds a file.
    #[must_use]
    pub fn file(mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.push((name.to_owned(), bytes.into()));
        self
    }

    /// Adds `count` files of `len` bytes each that differ from each other and from those of another `seed`.
    #[must_use]
    pub fn files(mut self, count: usize, len: usize, seed: u64) -> Self {
        for number in 0..count {
            let mut state =
                seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(number as u64 + 1);
            let mut bytes = Vec::with_capacity(len + 8);
            while bytes.len() < len {
                // xorshift: bytes that nothing compresses and no two files share.
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                bytes.extend_from_slice(&state.to_le_bytes());
            }
            bytes.truncate(len);
            self = self.file(&format!("files/{number:03}.bin"), bytes);
        }
        self
    }

    /// Adds a line to the top level of `guild.toml`.
    #[must_use]
    pub fn line(mut self, line: &str) -> Self {
        let _infallible = writeln!(self.head, "{line}");
        self
    }

    /// Says something else in the top level of `guild.toml`.
    #[must_use]
    pub fn replacing(mut self, old: &str, new: &str) -> Self {
        self.head = self.head.replace(old, new);
        self
    }

    /// Adds a table to `guild.toml`.
    #[must_use]
    pub fn table(mut self, table: &str) -> Self {
        let _infallible = writeln!(self.tables, "\n{table}");
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Its `guild.toml`.
    #[must_use]
    pub fn description(&self) -> String {
        let Self { name, version, head, tables, .. } = self;
        format!("name = \"{name}\"\nversion = \"{version}\"\n{head}{tables}")
    }

    /// Writes it into a new folder.
    pub fn write(&self, folder: &Path) {
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.join(name);
            let parent = path.parent().expect("a file is in a folder");
            fs::create_dir_all(parent).expect("the folder is made");
            fs::write(&path, bytes).expect("the file is written");
        };
        write("guild.toml", self.description().as_bytes());
        self.files.iter().for_each(|(name, bytes)| write(name, bytes));
    }
}

/// Publishes the package in a folder, as `guild publish` does.
///
/// # Errors
/// Whatever went wrong.
pub async fn publish(
    client: &Client,
    folder: &Path,
) -> Result<Published, Box<dyn Error + Send + Sync>> {
    let mut draft = read_dir(folder)?;
    let org = client.status().await?.org;
    draft.resolve(client, &org).await?;
    draft.upload(client, |_| {}).await?;
    Ok(client.publish(&draft.request(false)?).await?)
}

/// Publishes the package in a folder; it must succeed.
pub async fn publish_ok(node: &Node, folder: &Path) -> Published {
    let published = publish(node.client(), folder).await;
    published.unwrap_or_else(|error| panic!("{}: {error}\n{}", folder.display(), node.log_tail()))
}
