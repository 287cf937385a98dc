//! Names that an attacker may choose: none of them is a name.

use guildhall_protocol::cbor;
use guildhall_protocol::limits::RECORD_MAX_BYTES;
use guildhall_protocol::name::{FileName, OrgName, PackageName};

/// Names that no kind of name may take: they could leave a folder, hide what they are, or break a line.
fn hostile_names() -> Vec<String> {
    let mut names: Vec<String> = [
        "",
        ".",
        "..",
        "/",
        "//",
        "../x",
        "x/..",
        "x/../y",
        "./x",
        "x/.",
        "x/./y",
        "/etc/passwd",
        "//server/share",
        "x//y",
        "x/",
        "../../../../root/.ssh/authorized_keys",
        "..\\x",
        "\\x",
        "x\\..\\y",
        "\\\\server\\share",
        "\\\\.\\COM1",
        "\\\\?\\C:\\x",
        "file:///etc/passwd",
        "http://192.0.2.1/x",
        "x:stream",
        "x::$DATA",
        "con:",
        "nul:",
        ".../../x",
        "x/../../y",
    ]
    .map(str::to_owned)
    .to_vec();
    let controls = ('\0'..='\u{1f}').chain('\u{7f}'..='\u{9f}');
    let invisible =
        ['\u{ad}', '\u{61c}', '\u{180e}', '\u{200b}', '\u{200e}', '\u{200f}', '\u{feff}']
            .into_iter()
            .chain('\u{2028}'..='\u{202e}')
            .chain('\u{2060}'..='\u{206f}')
            .chain(['\u{e0001}', '\u{e0041}', '\u{e007f}']);
    for c in controls.chain(invisible) {
        names.extend([format!("a{c}b"), format!("{c}report.txt"), format!("report.txt{c}")]);
        names.extend([format!("x/{c}"), c.to_string()]);
    }
    names.extend(('A'..='Z').map(|drive| format!("{drive}:\\x")));
    names.extend(('A'..='Z').map(|drive| format!("{drive}:/x")));
    names.extend([256, 257, 4096, 60_000].map(|len| "a".repeat(len)));
    names.extend([128, 1000].map(|depth| "a/".repeat(depth) + "a"));
    names.extend((1..10).map(|depth| "../".repeat(depth) + "x"));
    names
}

#[test]
fn t13_no_hostile_name_is_a_name_of_anything() {
    let names = hostile_names();
    assert!(names.len() >= 500, "{}", names.len());
    for name in &names {
        assert!(name.parse::<FileName>().is_err(), "file {name:?}");
        assert!(name.parse::<OrgName>().is_err(), "org {name:?}");
        assert!(name.parse::<PackageName>().is_err(), "package {name:?}");
        let bytes = cbor::encode(name);
        assert!(cbor::decode::<FileName>(&bytes, RECORD_MAX_BYTES).is_err(), "decoded {name:?}");
    }
}

#[test]
fn t13_no_name_of_an_org_or_package_looks_like_another() {
    let names = [
        "ST-MARY",
        "St-mary",
        "st_mary ",
        " st-mary",
        "st-mary\n",
        "st mary",
        "st-m\u{430}ry",
        "\u{455}t-mary",
        "st\u{2010}mary",
        "st\u{2212}mary",
        "st-m\u{e1}ry",
        "st-ma\u{301}ry",
        "\u{ff53}t-mary",
        "st-mary-",
        "-st-mary",
        "-rf",
        "--help",
        "~root",
        "$HOME",
        "a*",
        "a?",
        "a|b",
        "a;b",
        "a&b",
        "a'b",
        "a\"b",
        "a`b",
        "<a>",
        "a%2e",
        "a,b",
        "a@b",
        "a#b",
        "a+b",
        "a=b",
        "\u{661}\u{662}",
        "\u{1f600}\u{1f600}",
        "_ab",
        "ab_",
        ".ab",
        "ab.",
        "aux.",
        "x/y",
    ];
    for name in names {
        assert!(name.parse::<OrgName>().is_err(), "org {name:?}");
        assert!(name.parse::<PackageName>().is_err(), "package {name:?}");
    }
    for reserved in ["admin", "guild", "guildhall", "localhost", "here", "b3", "all"] {
        assert!(reserved.parse::<OrgName>().is_err(), "org {reserved}");
    }
}
