//! What the demo publishes and runs: `examples/digits`, carried in the program so that the demo works anywhere.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use guildhall_protocol::api::InputRecord;
use include_dir::{Dir, include_dir};

/// Each package with the name of its folder, in an order in which they can be published.
static FOLDERS: [(&str, Dir<'_>); 5] = [
    (PREPARE, include_dir!("$CARGO_MANIFEST_DIR/../examples/digits/prepare")),
    (MODEL, include_dir!("$CARGO_MANIFEST_DIR/../examples/digits/model")),
    (STUCK, include_dir!("$CARGO_MANIFEST_DIR/../examples/digits/stuck")),
    (IMAGES, include_dir!("$CARGO_MANIFEST_DIR/../examples/digits/images")),
    (PIPELINE, include_dir!("$CARGO_MANIFEST_DIR/../examples/digits/pipeline")),
];

/// The stage that turns pictures into what the model takes.
pub(super) const PREPARE: &str = "prepare";
/// The model.
pub(super) const MODEL: &str = "model";
/// The stage that never ends on some pictures.
pub(super) const STUCK: &str = "stuck";
/// 360 pictures with labels.
pub(super) const IMAGES: &str = "images";
/// Stage and model, one after the other.
pub(super) const PIPELINE: &str = "pipeline";

/// The content, written to a folder.
#[derive(Debug)]
pub(super) struct Content {
    dir: PathBuf,
    /// In order of name.
    pictures: Vec<Picture>,
}

/// What is known of one picture.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Picture {
    /// Its file's name in the data package.
    pub(super) name: String,
    /// The digit that it shows.
    pub(super) label: String,
    /// What onnxruntime says it shows.
    pub(super) class: String,
    /// How sure onnxruntime is.
    pub(super) confidence: f64,
}

impl Content {
    /// Writes everything below `dir`, which must not exist.
    pub(super) fn unpack(dir: &Path) -> io::Result<Self> {
        for (name, folder) in &FOLDERS {
            let place = dir.join(name);
            fs::create_dir_all(&place)?;
            folder.extract(&place)?;
        }
        let images = dir.join(IMAGES);
        let labels = fs::read_to_string(images.join("labels.csv"))?;
        let reference = fs::read_to_string(images.join("reference.csv"))?;
        let pictures = join(&labels, &reference).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "labels.csv and reference.csv do not agree")
        })?;
        Ok(Self { dir: dir.to_owned(), pictures })
    }

    /// The folder of a package.
    pub(super) fn folder(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Every picture of the data package, in order of name.
    pub(super) fn pictures(&self) -> &[Picture] {
        &self.pictures
    }

    /// The share of pictures that onnxruntime gets right.
    pub(super) fn reference_accuracy(&self) -> f64 {
        let right = self.pictures.iter().filter(|picture| picture.class == picture.label);
        share(right.count(), self.pictures.len())
    }

    /// A picture that the pipeline can do something with.
    pub(super) fn good_record(&self) -> io::Result<(InputRecord, &Picture)> {
        let picture = self.pictures.first().ok_or(io::ErrorKind::NotFound)?;
        Ok((record(&self.folder(IMAGES).join(&picture.name), &picture.name)?, picture))
    }

    /// The picture on which the stuck stage never ends.
    pub(super) fn poison_record(&self) -> io::Result<InputRecord> {
        record(&self.folder(STUCK).join("poison.pgm"), "poison.pgm")
    }
}

fn record(path: &Path, name: &str) -> io::Result<InputRecord> {
    Ok(InputRecord::new(name, BASE64.encode(&fs::read(path)?)))
}

/// Joins the lines `file,label` and `file,prediction,confidence`, which are in the same order.
fn join(labels: &str, reference: &str) -> Option<Vec<Picture>> {
    let (labels, reference) = (labels.lines().skip(1), reference.lines().skip(1));
    let pictures = labels.zip(reference).map(|(label, reference)| {
        let (file, label) = label.split_once(',')?;
        let (name, prediction) = reference.split_once(',')?;
        let (class, confidence) = prediction.split_once(',')?;
        (file == name).then_some(Picture {
            name: name.to_owned(),
            label: label.trim().to_owned(),
            class: class.to_owned(),
            confidence: confidence.trim().parse().ok()?,
        })
    });
    pictures.collect()
}

/// `part` of `whole`, as a number from 0 to 1.
pub(super) fn share(part: usize, whole: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts of pictures are far below 2^52")]
    let share = part as f64 / whole.max(1) as f64;
    share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_is_carried_with_its_description_and_its_pictures() {
        let dir = tempfile::tempdir().unwrap();
        let content = Content::unpack(&dir.path().join("content")).unwrap();
        for (name, _) in &FOLDERS {
            assert!(content.folder(name).join("guild.toml").is_file(), "{name}");
        }
        assert_eq!(content.pictures().len(), 360);
        assert!(content.pictures().is_sorted_by(|a, b| a.name < b.name));
        assert!((0.9..1.0).contains(&content.reference_accuracy()));
        assert_eq!(content.good_record().unwrap().1.name, content.pictures()[0].name);
        assert!(!content.poison_record().unwrap().value.unwrap_or_default().is_empty());
    }

    #[test]
    fn tables_that_disagree_are_refused() {
        let labels = "file,label\na.pgm,1\n";
        assert!(join(labels, "file,prediction,confidence\na.pgm,1,0.5\n").is_some());
        assert!(join(labels, "file,prediction,confidence\nb.pgm,1,0.5\n").is_none());
        assert!(join(labels, "file,prediction,confidence\na.pgm,1,sure\n").is_none());
    }
}
