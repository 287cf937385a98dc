//! Media types by file ending: what a manifest says about a file when nothing else is known.

/// What endings stand for; everything else is bytes. Types without a registration carry the name in common use.
const BY_ENDING: &[(&str, &str)] = &[
    ("arrow", "application/vnd.apache.arrow.file"),
    ("bmp", "image/bmp"),
    ("c", "text/x-c"),
    ("csv", "text/csv"),
    ("feather", "application/vnd.apache.arrow.file"),
    ("flac", "audio/flac"),
    ("gguf", "application/x-gguf"),
    ("gif", "image/gif"),
    ("html", "text/html"),
    ("ipynb", "application/x-ipynb+json"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("json", "application/json"),
    ("jsonl", "application/x-ndjson"),
    ("md", "text/markdown"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("ndjson", "application/x-ndjson"),
    ("ogg", "audio/ogg"),
    ("onnx", "application/onnx"),
    ("parquet", "application/vnd.apache.parquet"),
    ("pdf", "application/pdf"),
    ("pgm", "image/x-portable-graymap"),
    ("png", "image/png"),
    ("ppm", "image/x-portable-pixmap"),
    ("py", "text/x-python"),
    ("rs", "text/rust"),
    ("safetensors", "application/x-safetensors"),
    ("sh", "application/x-sh"),
    ("svg", "image/svg+xml"),
    ("tif", "image/tiff"),
    ("tiff", "image/tiff"),
    ("toml", "application/toml"),
    ("tsv", "text/tab-separated-values"),
    ("txt", "text/plain"),
    ("wasm", "application/wasm"),
    ("wav", "audio/wav"),
    ("webm", "video/webm"),
    ("webp", "image/webp"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
];

/// The media type of a file of this name.
#[must_use]
pub fn media_type(name: &str) -> &'static str {
    let file = name.rsplit('/').next().unwrap_or(name);
    let ending = file.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    ending
        .and_then(|ending| BY_ENDING.iter().find(|(known, _)| *known == ending))
        .map_or("application/octet-stream", |(_, media)| media)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ending_stands_once_and_in_order() {
        assert!(BY_ENDING.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn the_last_ending_of_the_file_decides() {
        assert_eq!(media_type("a.png/b.PGM"), "image/x-portable-graymap");
        assert_eq!(media_type("tests/1.in.f32"), "application/octet-stream");
        assert_eq!(media_type("x.md/LICENSE"), "application/octet-stream");
    }
}
