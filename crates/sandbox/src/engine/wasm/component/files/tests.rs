//! What the calls answer, asked without a guest.

use types::{DescriptorFlags, DescriptorType, HostDescriptor as _, OpenFlags, PathFlags};
use wasmtime_wasi::p2::bindings::filesystem::preopens::Host as _;

use super::*;

const FILES: [(&str, &str); 3] =
    [("README.md", "# Words"), ("words/de.txt", "der die das"), ("words/en.txt", "the of")];

/// Most things that a table of these tests takes.
const THINGS_MAX: usize = 16;

fn folder(files: &[(&str, &str)]) -> Arc<Folder> {
    let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), text.as_bytes().to_vec());
    Arc::new(Folder::of(files.iter().map(owned).collect()))
}

fn code<T>(result: FsResult<T>) -> Option<shared::ErrorCode> {
    result.err().map(|error| error.downcast().unwrap())
}

/// Works on the folder with its root open.
fn with(files: &[(&str, &str)], work: impl FnOnce(&mut Files<'_>, &dyn Fn() -> Fd)) {
    let folder = folder(files);
    let mut table = ResourceTable::new();
    table.set_max_capacity(THINGS_MAX);
    let mut files = Files { folder: Some(&folder), table: &mut table };
    let found = files.get_directories().unwrap();
    let [(root, name)] = found.as_slice() else { panic!("one folder") };
    assert_eq!(name, "/");
    let rep = root.rep();
    work(&mut files, &move || Resource::new_own(rep));
}

fn open(files: &mut Files<'_>, fd: Fd, path: &str) -> FsResult<Fd> {
    let (how, flags) = (OpenFlags::empty(), DescriptorFlags::READ);
    files.open_at(fd, PathFlags::empty(), path.to_owned(), how, flags)
}

#[test]
fn files_are_opened_read_and_listed() {
    with(&FILES, |files, root| {
        let fd = open(files, root(), "words/de.txt").unwrap();
        let again = || Resource::new_own(fd.rep());
        assert_eq!(files.read(again(), 3, 4).unwrap(), (b"die".to_vec(), false));
        assert_eq!(files.read(again(), 99, 8).unwrap(), (b"das".to_vec(), true));
        assert_eq!(files.read(again(), 1, u64::MAX).unwrap(), (Vec::new(), true));
        let facts = files.stat(again()).unwrap();
        assert_eq!((facts.type_, facts.size), (DescriptorType::RegularFile, 11));
        let listing = files.read_directory(root()).unwrap().rep();
        let mut next = || {
            let listing = Resource::new_own(listing);
            let entry = types::HostDirectoryEntryStream::read_directory_entry(files, listing);
            entry.unwrap().map(|entry| (entry.name, entry.type_))
        };
        assert_eq!(next(), Some(("README.md".to_owned(), DescriptorType::RegularFile)));
        assert_eq!(next(), Some(("words".to_owned(), DescriptorType::Directory)));
        assert_eq!(next(), None);
    });
}

#[test]
fn paths_lead_nowhere_else() {
    use shared::ErrorCode::{NameTooLong, NoEntry, NotDirectory, NotPermitted};

    let long = "a/".repeat(2_049);
    with(&FILES, |files, root| {
        for (path, expected) in [
            ("words/de.txt", None),
            ("./words/../words//en.txt", None),
            (".", None),
            ("", Some(NoEntry)),
            ("..", Some(NotPermitted)),
            ("/etc/passwd", Some(NotPermitted)),
            ("/words/de.txt", Some(NotPermitted)),
            ("words/../../README.md", Some(NotPermitted)),
            ("words/de.txt/", Some(NotDirectory)),
            ("words/de.txt/..", None),
            ("words/fr.txt", Some(NoEntry)),
            ("README.md\0", Some(NoEntry)),
            (&long, Some(NameTooLong)),
        ] {
            let found = files.stat_at(root(), PathFlags::SYMLINK_FOLLOW, path.to_owned());
            assert_eq!(code(found), expected, "{path:?}");
            let opened = open(files, root(), path);
            if let Ok(fd) = &opened {
                files.drop(Resource::new_own(fd.rep())).unwrap();
            }
            assert_eq!(code(opened), expected, "{path:?}");
        }
        // From a file, and from a folder in it and back.
        let file = open(files, root(), "README.md").unwrap();
        assert_eq!(code(open(files, file, ".")), Some(NotDirectory));
        let below = open(files, root(), "words").unwrap().rep();
        assert_eq!(code(open(files, Resource::new_own(below), "../README.md")), None);
        let up = open(files, Resource::new_own(below), "../..");
        assert_eq!(code(up), Some(NotPermitted));
        // There are no links to be read.
        let link = files.readlink_at(root(), "README.md".to_owned());
        assert_eq!(code(link), Some(shared::ErrorCode::Invalid));
    });
}

#[test]
fn nothing_is_changed() {
    with(&FILES, |files, root| {
        let name = || "README.md".to_owned();
        let none = OpenFlags::empty();
        let mut refused = Vec::new();
        for (how, flags) in [
            (OpenFlags::CREATE, DescriptorFlags::READ),
            (OpenFlags::CREATE | OpenFlags::EXCLUSIVE, DescriptorFlags::READ),
            (OpenFlags::TRUNCATE, DescriptorFlags::READ),
            (none, DescriptorFlags::WRITE),
            (none, DescriptorFlags::READ | DescriptorFlags::WRITE),
        ] {
            let opened = files.open_at(root(), PathFlags::empty(), name(), how, flags);
            refused.push(code(opened));
        }
        let fd = open(files, root(), "README.md").unwrap().rep();
        let fd = || Fd::new_own(fd);
        let now = types::NewTimestamp::Now;
        refused.push(code(files.write(fd(), vec![1], 0)));
        refused.push(code(files.write_via_stream(fd(), 0)));
        refused.push(code(files.append_via_stream(fd())));
        refused.push(code(files.set_size(fd(), 0)));
        refused.push(code(files.set_times(fd(), now, now)));
        refused.push(code(files.set_times_at(root(), PathFlags::empty(), name(), now, now)));
        refused.push(code(files.create_directory_at(root(), "new".to_owned())));
        refused.push(code(files.remove_directory_at(root(), "words".to_owned())));
        refused.push(code(files.unlink_file_at(root(), name())));
        refused.push(code(files.rename_at(root(), name(), root(), "new".to_owned())));
        refused.push(code(files.symlink_at(root(), "/etc".to_owned(), "new".to_owned())));
        let linked = files.link_at(root(), PathFlags::empty(), name(), root(), "new".to_owned());
        refused.push(code(linked));
        assert!(refused.iter().all(|code| *code == Some(shared::ErrorCode::ReadOnly)));
        assert_eq!(files.read(fd(), 99, 0).unwrap().0, b"# Words");
    });
}

#[test]
fn reads_and_what_is_open_are_bounded() {
    let long = "x".repeat(INLINE_MAX_BYTES + 5);
    with(&[("long", &long)], |files, root| {
        let fd = open(files, root(), "long").unwrap().rep();
        let (bytes, is_end) = files.read(Resource::new_own(fd), u64::MAX, 0).unwrap();
        assert_eq!((bytes.len(), is_end), (INLINE_MAX_BYTES, false));
        let (rest, is_end) =
            files.read(Resource::new_own(fd), u64::MAX, INLINE_MAX_BYTES as u64).unwrap();
        assert_eq!((rest.len(), is_end), (5, true));
        // A full table ends the guest: it is no error of the file's.
        let opened = (0..THINGS_MAX).find_map(|_| open(files, root(), "long").err());
        assert!(opened.unwrap().downcast_ref().is_none());
    });
}

#[test]
fn without_a_folder_there_is_none() {
    let mut table = ResourceTable::new();
    let mut files = Files { folder: None, table: &mut table };
    assert!(files.get_directories().unwrap().is_empty());
}
