//! Names that packages may have, from names that people gave.

use std::path::Path;

use guildhall_protocol::name::PackageName;

/// Longest name of a package, bytes.
const NAME_MAX_BYTES: usize = 96;

/// `name` in the letters that a package's name may have; `None` when nothing is left.
pub(super) fn package(name: &str) -> Option<PackageName> {
    // On the hub a name may come with its owner.
    let name = name.rsplit('/').next().unwrap_or(name);
    let mut made = String::new();
    for c in name.chars() {
        let c = c.to_ascii_lowercase();
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            made.push(c);
        } else if !made.is_empty() && !made.ends_with(['-', '.', '_']) {
            made.push(if matches!(c, '.' | '_') { c } else { '-' });
        }
        if made.len() == NAME_MAX_BYTES {
            break;
        }
    }
    made.trim_end_matches(['-', '.', '_']).parse().ok()
}

/// The name of the folder `dir`, wherever it is seen from, in the letters that a package's name may have; `None` when
/// nothing is left. It need not exist yet.
#[must_use]
pub fn of_folder(dir: &Path) -> Option<PackageName> {
    let dir = dir.canonicalize().or_else(|_| std::path::absolute(dir)).ok()?;
    package(dir.file_name()?.to_str()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_people_become_names_of_packages() {
        for (given, made) in [
            ("ViT Digits", Some("vit-digits")),
            ("google/vit-base-patch16-224", Some("vit-base-patch16-224")),
            ("Llama_3.1 (8B)", Some("llama_3.1-8b")),
            ("--x--", None),
            ("größe", Some("gr-e")),
            ("日本", None),
        ] {
            assert_eq!(package(given).as_ref().map(PackageName::as_str), made, "{given}");
        }
        assert_eq!(package(&"a".repeat(500)).unwrap().as_str().len(), NAME_MAX_BYTES);
    }
}
