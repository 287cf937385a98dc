//! Files as people have them, made into records of an interface; and what is said where that cannot be.

use data_encoding::BASE64;
use guildhall_protocol::api::InputRecord;
use guildhall_protocol::limits::VALUE_MAX_BYTES;
use guildhall_protocol::wire::PortValue;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

fn port(name: &str, written: &str) -> Port {
    let port_type = written.parse().unwrap();
    Port { name: name.into(), port_type, optional: false, location: None }
}

/// A folder with files in it.
fn files(given: &[(&str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in given {
        fs::write(dir.path().join(name), content).unwrap();
    }
    dir
}

/// Reads files of a folder, each given as `[PORT=]NAME`.
fn read_as(
    dir: &TempDir,
    given: &[&str],
    form: Option<As>,
    ports: &[Port],
) -> Result<Inputs, Failure> {
    let path = |given: &&str| match given.split_once('=') {
        Some((port, name)) => format!("{port}={}", dir.path().join(name).display()),
        None => dir.path().join(given).display().to_string(),
    };
    let given: Vec<_> = given.iter().map(path).collect();
    read(&given, form, ports)
}

fn records(inputs: &Inputs) -> &[InputRecord] {
    match &inputs.input {
        RunInput::Records(records) => records,
        RunInput::Package(_) => panic!("records were given"),
    }
}

fn names(inputs: &Inputs) -> Vec<&str> {
    records(inputs).iter().map(|record| record.name.as_str()).collect()
}

/// The values of one port of several.
fn column<'i>(inputs: &'i Inputs, port: &str) -> Vec<&'i Value> {
    records(inputs).iter().map(|record| &record.values[port]).collect()
}

/// The values of the only port, which has this type.
fn plain(inputs: &Inputs, written: &str) -> Value {
    let value = |record: &InputRecord| {
        let bytes = BASE64.decode(record.value.as_ref().unwrap().as_bytes()).unwrap();
        values::to_json(&written.parse().unwrap(), &PortValue::new("x", bytes))
    };
    records(inputs).iter().map(value).collect()
}

/// All that is said of a failure.
fn said(result: Result<Inputs, Failure>) -> String {
    let failure = result.unwrap_err();
    let lines = std::iter::once(&failure.message).chain(&failure.causes).chain(&failure.help);
    lines.cloned().collect::<Vec<_>>().join("\n")
}

#[test]
fn a_folder_is_its_files_in_order_of_name() {
    let image = [port("image", "image")];
    let dir = files(&[("10.pgm", b"x"), ("2.pgm", b"x"), ("01.pgm", b"1"), (".hidden", b"")]);
    fs::create_dir(dir.path().join("folder")).unwrap();
    let inputs = read_as(&dir, &["."], None, &image).unwrap();
    assert_eq!(names(&inputs), ["01.pgm", "10.pgm", "2.pgm"]);
    assert_eq!(inputs.names(), names(&inputs));
    let note = inputs.notes.join("\n");
    assert!(note.ends_with(": left out 1 subfolder, 1 hidden file"), "{note}");
    assert_eq!(records(&inputs)[0].value, Some(BASE64.encode(b"1")));
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(read_as(&empty, &["."], None, &image).unwrap_err().code, exit::NOT_FOUND);
}

#[test]
fn files_win_over_references_and_ports() {
    let dir = files(&[("a=b", b"x"), ("c", b"x")]);
    let ports = [port("image", "image")];
    let path = |name: &str| dir.path().join(name).display().to_string();
    let plain = read(&[path("a=b"), path("c")], None, &ports).unwrap();
    assert_eq!(names(&plain), ["a=b", "c"]);
    let named = read(&[format!("image={}", path("c"))], None, &ports).unwrap();
    assert_eq!(names(&named), ["c"]);
    let wrong = said(read(&[format!("imgae={}", path("c"))], None, &ports));
    assert_eq!(wrong, "there is no input `imgae`\nthe inputs are: image\n--input image=...");
}

#[test]
fn what_is_no_file_may_be_a_package() {
    let ports = [port("image", "image")];
    let read = |given: &[&str]| {
        let given: Vec<_> = given.iter().map(ToString::to_string).collect();
        super::read(&given, None, &ports)
    };
    let reference = "lab-a/digits-images@1.0.0";
    let package = RunInput::Package(reference.parse().unwrap());
    assert_eq!(read(&[reference]).unwrap().input, package);
    assert_eq!(read(&[&format!("image={reference}")]).unwrap().input, package);
    assert_eq!(read(&[reference, reference]).unwrap_err().code, exit::USAGE);
    assert_eq!(read(&["no/such file"]).unwrap_err().code, exit::NOT_FOUND);
}

#[test]
fn a_record_that_is_too_long_is_refused_before_it_is_sent() {
    let dir = files(&[("long", &vec![0; VALUE_MAX_BYTES + 1])]);
    for ports in [vec![port("x", "bytes")], vec![port("x", "bytes"), port("y", "bytes")]] {
        let failure = read_as(&dir, &["x=long", "y=long"][..ports.len()], None, &ports);
        assert_eq!(failure.unwrap_err().code, exit::REFUSED);
    }
}

const IRIS: &[u8] = b"\xef\xbb\xbfid,sepal_l,sepal_w,petal_l,petal_w,species\r\n\
    a1,5.1,3.5,1.4,0.2,setosa\r\na2,4.9,3,1.4,0.2,setosa\r\n";

#[test]
fn rows_of_numbers_are_records_of_a_tensor() {
    let dir = files(&[("iris.csv", IRIS)]);
    for written in ["tensor(f32, 4)", "tensor(f64, n, 4)", "tensor(f32, 1, 2, 2)", "tensor(f32, n)"]
    {
        let inputs = read_as(&dir, &["iris.csv"], None, &[port("x", written)]).unwrap();
        assert_eq!(names(&inputs), ["a1", "a2"]);
        let plain_type = written.replace("n, 4", "4").replace("1, 2, 2", "4");
        let expected = json!([[5.1, 3.5, 1.4, 0.2], [4.9, 3.0, 1.4, 0.2]]);
        assert_eq!(plain(&inputs, &plain_type), expected);
        assert_eq!(
            inputs.notes,
            [
                "iris.csv: 2 records of 4 numbers from columns sepal_l, sepal_w, petal_l, petal_w; left \
              out: species"
            ]
        );
    }
    let wrong = said(read_as(&dir, &["iris.csv"], None, &[port("x", "tensor(f32, 3)")]));
    assert_eq!(
        wrong,
        "iris.csv: port x takes 3 numbers a row, and there are 4 columns of numbers\n\
         columns of numbers: sepal_l, sepal_w, petal_l, petal_w\n\
         other columns: id (\"a1\" in line 2), species (\"setosa\" in line 2)"
    );
    let wrong = said(read_as(&dir, &["iris.csv"], None, &[port("x", "tensor(i64, 4)")]));
    assert_eq!(wrong, "iris.csv, line 2: port x, at /0: a whole number is expected, found 5.1");
}

#[test]
fn an_index_names_rows_and_holes_are_nan_only_where_that_exists() {
    let dir = files(&[("a.csv", b",a,b\n0,1,2\n1,,4\n"), ("b.tsv", b"a\tb\n1\t2\n")]);
    let inputs = read_as(&dir, &["a.csv"], None, &[port("x", "tensor(f32, 2)")]).unwrap();
    assert_eq!(names(&inputs), ["0", "1"]);
    assert_eq!(plain(&inputs, "tensor(f32, 2)"), json!([[1.0, 2.0], ["NaN", 4.0]]));
    assert!(inputs.notes[0].ends_with("columns a, b; 1 empty cell taken as NaN"), "{inputs:?}");
    let wrong = said(read_as(&dir, &["a.csv"], None, &[port("x", "tensor(i32, 2)")]));
    assert_eq!(wrong, "a.csv: line 3: a is empty, and i32 has no such number");
    let inputs = read_as(&dir, &["b.tsv"], None, &[port("x", "tensor(i32, 2)")]).unwrap();
    assert_eq!(names(&inputs), ["b.tsv:2"]);
    assert_eq!(plain(&inputs, "tensor(i32, 2)"), json!([[1, 2]]));
}

#[test]
fn columns_feed_the_ports_that_they_are_called_like() {
    let ports = [
        port("text", "text"),
        port("age", "tensor(f32, 1)"),
        port("box", "tensor(i64, 4)"),
        Port { optional: true, ..port("note", "json") },
    ];
    let csv =
        b"id,age,text,box,note,other\nr1,3,\"a, b\",\"[1,2,3,4]\",,z\nr2,4,c,\"[0,0,1,1]\",{},z\n";
    let dir = files(&[
        ("t.csv", csv),
        ("u.csv", b"text,age\nx,1\n"),
        ("bad.csv", b"text,age,box\na,x,[]\n"),
    ]);
    let inputs = read_as(&dir, &["t.csv"], None, &ports).unwrap();
    assert_eq!(names(&inputs), ["r1", "r2"]);
    assert_eq!(column(&inputs, "text"), [&json!("a, b"), &json!("c")]);
    assert_eq!(column(&inputs, "box"), [&json!([1, 2, 3, 4]), &json!([0, 0, 1, 1])]);
    assert!(!records(&inputs)[0].values.contains_key("note"));
    assert_eq!(
        inputs.notes,
        ["t.csv: 2 records from columns text, age, box, note; left out: other"]
    );
    assert_eq!(
        said(read_as(&dir, &["u.csv"], None, &ports)),
        "u.csv: no columns for the inputs text, age, box, note\ncolumns of numbers: age\n\
         other columns: text (\"x\" in line 2)\ncall the columns like the inputs, or say --as raw"
    );
    assert_eq!(
        said(read_as(&dir, &["bad.csv"], None, &ports)),
        "bad.csv, line 2: port age: a number is expected, found \"x\""
    );
}

#[test]
fn a_text_may_be_csv_and_a_table_is_one_record() {
    let dir = files(&[
        ("t.csv", b"text,n\nhello,1\n"),
        ("o.csv", b"a,b\n1,2\n"),
        ("o.tsv", b"a\tb\n1\tx,y\n"),
    ]);
    let text = [port("text", "text")];
    assert_eq!(plain(&read_as(&dir, &["t.csv"], None, &text).unwrap(), "text"), json!(["hello"]));
    let whole = read_as(&dir, &["o.csv"], None, &text).unwrap();
    assert_eq!(records(&whole)[0].value, Some(BASE64.encode(b"a,b\n1,2\n")));
    let table = [port("t", "table(a:i64)")];
    let whole = read_as(&dir, &["o.tsv"], None, &table).unwrap();
    assert_eq!(records(&whole)[0].value, Some(BASE64.encode(b"a,b\n1,\"x,y\"\n")));
}

#[test]
fn broken_tables_say_where() {
    let cases: [(&[u8], &str); 6] = [
        (b"", "t.csv: the header line is missing"),
        (b"1,2\n3,4\n", "t.csv: the first line holds numbers, where a header names the columns"),
        (b"a,b\n1\n", "t.csv: line 2 has 1 cell, the header 2"),
        (b"a,b\n1,\"2\n", "t.csv: the quote that opens in line 2 is not closed"),
        (b"a,b\n", "t.csv: port x takes 2 numbers a row, and there are 0 columns of numbers"),
        (b"a,b\n1,\xe4\n", "t.csv is not UTF-8"),
    ];
    for (content, expected) in cases {
        let dir = files(&[("t.csv", content)]);
        let wrong = said(read_as(&dir, &["t.csv"], None, &[port("x", "tensor(f32, 2)")]));
        assert!(wrong.starts_with(expected), "{wrong}");
    }
}

#[test]
fn lines_and_lists_of_json_are_records() {
    let ports = [port("text", "text"), port("n", "tensor(i64, 2)")];
    let lines =
        b"{\"text\": \"a\", \"n\": [1, 2]}\n\n{\"id\": 7, \"n\": [3, 4], \"text\": \"b\"}\n";
    let dir = files(&[
        ("r.jsonl", lines),
        ("r.json", br#"[{"text": "a", "n": [1, 2]}, {"text": "b", "n": [3, 4]}]"#),
        ("one.json", br#"{"text": "a", "n": [1, 2]}"#),
        ("bad.jsonl", b"{\"text\": \"a\", \"n\": [1, 2]}\n{\"text\": \"a\", \"n\": [1, \"x\"]}\n"),
        ("cut.jsonl", b"{\"text\": \"a\", \"n\": [1, 2]}\n{\"text\": "),
        ("miss.ndjson", b"{\"txt\": \"a\"}\n"),
    ]);
    let read = |name: &str| read_as(&dir, &[name], None, &ports);
    let inputs = read("r.jsonl").unwrap();
    assert_eq!(names(&inputs), ["r.jsonl:1", "7"]);
    assert_eq!(inputs.notes, ["r.jsonl: 2 records, one a line"]);
    let list = read("r.json").unwrap();
    assert_eq!(names(&list), ["r.json[0]", "r.json[1]"]);
    assert_eq!(column(&list, "n"), column(&inputs, "n"));
    assert_eq!(names(&read("one.json").unwrap()), ["one.json"]);
    assert_eq!(
        said(read("bad.jsonl")),
        "bad.jsonl, line 2: port n, at /1: a whole number is expected, found \"x\""
    );
    assert!(said(read("cut.jsonl")).starts_with("cut.jsonl, line 2: not JSON\nEOF"));
    assert_eq!(
        said(read("miss.ndjson")),
        "miss.ndjson, line 1: there is no port txt; did you mean text?"
    );
}

#[test]
fn json_of_one_port_is_a_value_or_a_list_of_them() {
    let dir = files(&[("v.json", b"[[1, 2], [3, 4]]"), ("s.json", b"[1, 2, 3]")]);
    let count = |name: &str, written: &str| {
        let inputs = read_as(&dir, &[name], None, &[port("x", written)]);
        inputs.map(|inputs| records(&inputs).len()).map_err(|failure| failure.message)
    };
    assert_eq!(count("v.json", "tensor(f32, 2)"), Ok(2));
    assert_eq!(count("v.json", "tensor(f32, n, 2)"), Ok(1));
    assert_eq!(count("v.json", "json"), Ok(1));
    assert_eq!(
        count("s.json", "tensor(f32, 2)"),
        Err("s.json, item 0: port x: a single number, but its type is tensor(f32, 2)".to_owned())
    );
}

#[test]
fn lines_of_a_text_are_records_when_it_is_said() {
    let dir = files(&[("t.txt", b"one\r\n\ntwo\n")]);
    let text = [port("text", "text")];
    let inputs = read_as(&dir, &["t.txt"], Some(As::Lines), &text).unwrap();
    assert_eq!(plain(&inputs, "text"), json!(["one", "two"]));
    assert_eq!(inputs.notes, ["t.txt: 2 records, one a line; 1 empty line left out"]);
    assert_eq!(records(&read_as(&dir, &["t.txt"], None, &text).unwrap()).len(), 1);
    let wrong = read_as(&dir, &["t.txt"], Some(As::Lines), &[port("x", "image")]);
    assert_eq!(said(wrong), "lines are texts, and port x is image");
}

/// What `numpy.save` writes.
fn npy(version: u8, header: &str, elements: &[u8]) -> Vec<u8> {
    let header = format!("{header}\n");
    let mut bytes = b"\x93NUMPY".to_vec();
    bytes.extend([version, 0]);
    match version {
        1 => bytes.extend(u16::try_from(header.len()).unwrap().to_le_bytes()),
        _ => bytes.extend(u32::try_from(header.len()).unwrap().to_le_bytes()),
    }
    bytes.extend(header.as_bytes());
    bytes.extend(elements);
    bytes
}

#[test]
fn arrays_are_records_along_their_first_axis_or_one() {
    let elements: Vec<u8> = (0..6).flat_map(|n| f64::from(n).to_le_bytes()).collect();
    let header = "{'descr': '<f8', 'fortran_order': False, 'shape': (3, 2), }";
    let dir =
        files(&[("a.npy", &npy(1, header, &elements)), ("b.npy", &npy(2, header, &elements))]);
    for name in ["a.npy", "b.npy"] {
        let inputs = read_as(&dir, &[name], None, &[port("x", "tensor(f32, 2)")]).unwrap();
        assert_eq!(names(&inputs)[2], format!("{name}[2]"));
        assert_eq!(plain(&inputs, "tensor(f32, 2)")[2], json!([4.0, 5.0]));
        let note = format!("{name}: 3 records along the first axis of the f64 array of 3x2");
        assert_eq!(inputs.notes, [note]);
    }
    let same = read_as(&dir, &["a.npy"], None, &[port("x", "tensor(f64, 1, 2)")]).unwrap();
    assert_eq!(plain(&same, "tensor(f64, 2)"), json!([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]));
    let whole = read_as(&dir, &["a.npy"], None, &[port("x", "tensor(f64, n, 2)")]).unwrap();
    assert_eq!(whole.notes, ["a.npy: 1 record, the whole f64 array of 3x2"]);
    // Its shape does not follow from its length, so that it goes along.
    let open = read_as(&dir, &["a.npy"], None, &[port("x", "tensor(f64, n, m)")]).unwrap();
    let bytes = BASE64.encode(&elements);
    assert_eq!(column(&open, "x"), [&json!({"shape": [3, 2], "base64": bytes})]);
    let wrong = said(read_as(&dir, &["a.npy"], None, &[port("x", "tensor(f32, 5)")]));
    assert_eq!(wrong, "a.npy[0]: port x: 2 numbers, but its type is tensor(f32, 5)");
}

#[test]
fn arrays_that_cannot_be_read_say_what_to_do() {
    let header = |descr: &str, order: &str, shape: &str| {
        format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}")
    };
    let f4 = |order: &str, shape: &str| npy(1, &header("'<f4'", order, shape), &[0; 8]);
    for (content, expected) in [
        (b"PK".to_vec(), "a.npy: it is no array of numpy"),
        (b"\x93NUMPY\x01\x00\xff".to_vec(), "a.npy: version 1 of the format is not known"),
        (b"\x93NUMPY\x01\x00\xff\xffx".to_vec(), "a.npy: it ends within its header"),
        (b"\x93NUMPY\x09\x00".to_vec(), "a.npy: version 9 of the format is not known"),
        (npy(1, "{}", &[]), "a.npy: its header cannot be read"),
        (f4("True", "(2,)"), "a.npy: it is in Fortran order\nnumpy.save('x.npy', numpy.ascontig"),
        (f4("False", "(3,)"), "a.npy: 8 bytes of elements do not make f32 of 3"),
        (f4("False", "(18446744073709551615, 2)"), "a.npy: 8 bytes of elements do not make"),
        (f4("False", "(-1,)"), "a.npy: its header cannot be read"),
        (npy(1, &header("'>f4'", "False", "(2,)"), &[0; 8]), "a.npy: its elements are big-endian"),
        (
            npy(1, &header("'|O'", "False", "(2,)"), &[0; 8]),
            "a.npy: its elements are Python objects",
        ),
        (npy(1, &header("[('a', '<f4')]", "False", "(2,)"), &[0; 8]), "a.npy: it holds records of"),
        (npy(1, &header("'<f4'", "False", "(0, 2)"), &[]), "a.npy: an array of 0x2 holds nothing"),
    ] {
        let dir = files(&[("a.npy", &content)]);
        let wrong = said(read_as(&dir, &["a.npy"], None, &[port("x", "tensor(f32, 2)")]));
        assert!(wrong.starts_with(expected), "{wrong}");
    }
    let dir = files(&[("a.npz", b"PK")]);
    let wrong = said(read_as(&dir, &["a.npz"], None, &[port("x", "tensor(f32, 2)")]));
    assert!(wrong.contains("holds several arrays\nsave the one that is meant"), "{wrong}");
}

#[test]
fn ports_are_columns_of_the_same_records() {
    let ports = [port("image", "image"), port("text", "text"), port("n", "tensor(i64, 1)")];
    let dir = files(&[
        ("a.png", b"\x89a"),
        ("b.png", b"\x89b"),
        ("t.txt", b"hello"),
        ("n.csv", b"n\n1\n2\n"),
        ("m.csv", b"n\n1\n2\n3\n"),
        ("all.jsonl", b"{\"text\": \"x\", \"n\": 1}\n{\"text\": \"y\", \"n\": 2}\n"),
    ]);
    let inputs =
        read_as(&dir, &["image=a.png", "text=t.txt", "n=n.csv", "image=b.png"], None, &ports)
            .unwrap();
    assert_eq!(names(&inputs), ["a.png", "b.png"]);
    assert_eq!(column(&inputs, "image")[1], &json!({"base64": BASE64.encode(b"\x89b")}));
    assert_eq!(column(&inputs, "text"), [&json!("hello"), &json!("hello")]);
    assert_eq!(inputs.notes[1], "t.txt is used for text in each of the 2 records");
    // What names its ports itself may be combined with a file for another one.
    let mixed = read_as(&dir, &["all.jsonl", "image=a.png"], None, &ports).unwrap();
    assert_eq!(column(&mixed, "text"), [&json!("x"), &json!("y")]);
    let failed = |given: &[&str]| said(read_as(&dir, given, None, &ports));
    assert_eq!(
        failed(&["image=a.png", "image=b.png", "n=m.csv", "text=t.txt"]),
        "the inputs are not as many for each port; one value alone is repeated\n\
         image: 2 values, n: 3 values, text: 1 value"
    );
    assert_eq!(failed(&["image=a.png"]), "a.png: port text has no value; its type is text");
    assert_eq!(
        failed(&["a.png"]),
        "which input is a.png for? There are image, text, n\n--input PORT=FILE, for each"
    );
}

#[test]
fn what_one_request_cannot_carry_is_to_be_published() {
    let dir = files(&[("a", &vec![0; VALUE_MAX_BYTES])]);
    let given = vec!["a"; 13];
    let wrong = read_as(&dir, &given, None, &[port("x", "bytes")]).unwrap_err();
    assert_eq!((wrong.code, wrong.help.as_deref()), (exit::REFUSED, Some("guild publish DIR")));
    assert!(read_as(&dir, &given[..11], None, &[port("x", "bytes")]).is_ok());
}
