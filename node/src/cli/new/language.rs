//! The languages that a stage can be begun in: where their templates are, and what is different about them.

use clap::ValueEnum;

/// A language of `guild new`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    /// C, with the compiler that comes as a Python package
    C,
    /// Zig, as a Python package
    Zig,
    /// Rust, with its target wasm32-wasip1
    Rust,
    /// Go 1.21 or later
    Go,
    /// Python, as a component with componentize-py
    Python,
    /// JavaScript, as a component with jco
    Javascript,
    /// WebAssembly's text form, which `guild build` assembles
    Wat,
}

/// In which form a stage is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Plain: a WASI command.
    Command,
    /// Full: a component with the interface of `wit/`.
    Component,
}

impl Language {
    /// The folder of its templates, which is also what it is called on the command line.
    pub(super) const fn folder(self) -> &'static str {
        match self {
            Self::C => "c",
            Self::Zig => "zig",
            Self::Rust => "rust",
            Self::Go => "go",
            Self::Python => "python",
            Self::Javascript => "javascript",
            Self::Wat => "wat",
        }
    }

    pub(super) const fn form(self) -> Form {
        match self {
            Self::Python | Self::Javascript => Form::Component,
            _ => Form::Command,
        }
    }

    /// Time and memory for one record, as `guild.toml` writes them: what its runtime takes to start, and some room. How
    /// they were measured is in docs/tutorial/producer.md.
    pub(super) const fn limits(self) -> (&'static str, &'static str) {
        match self {
            Self::C | Self::Zig | Self::Rust | Self::Wat => ("100", "2 MiB"),
            Self::Go => ("100", "16 MiB"),
            Self::Python => ("300", "64 MiB"),
            Self::Javascript => ("200", "32 MiB"),
        }
    }

    /// What the files are for that only this language has, as rows of the README's table.
    pub(super) const fn files(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::C => &[("stage.c", "the stage"), BUILD, ("requirements.txt", "the compiler")],
            Self::Zig => &[("stage.zig", "the stage"), BUILD, ("requirements.txt", "the compiler")],
            Self::Rust => &[("src/main.rs", "the stage"), BUILD, ("Cargo.toml", "how it is built")],
            Self::Go => &[("main.go", "the stage"), BUILD, ("go.mod", "the module's name")],
            Self::Python => {
                &[("app.py", "the stage"), BUILD, ("requirements.txt", "the tool"), WIT]
            }
            Self::Javascript => {
                &[("stage.js", "the stage"), BUILD, ("package.json", "the tools"), WIT]
            }
            Self::Wat => &[("stage.wat", "the stage")],
        }
    }

    /// Commands that get the tools and build `stage.wasm`, in the stage's folder.
    pub(super) const fn build(self) -> &'static [&'static str] {
        match self {
            Self::C | Self::Zig | Self::Python => &[
                "python3 -m venv .venv",
                ".venv/bin/pip install -r requirements.txt",
                "sh build.sh",
            ],
            Self::Rust => &["rustup target add wasm32-wasip1", "sh build.sh"],
            Self::Go => &["sh build.sh"],
            Self::Javascript => &["npm install", "sh build.sh"],
            Self::Wat => &["guild build ."],
        }
    }
}

const BUILD: (&str, &str) = ("build.sh", "builds `stage.wasm` from it");

const WIT: (&str, &str) = ("wit/", "the interface of a stage, which the tools read");
