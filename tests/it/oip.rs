//! The Open Inference Protocol: a listing is asked as Triton, KServe and MLServer are asked.
//!
//! The test with Triton's own client wants a Python with it: `PYTHON` names the interpreter, and
//! `pip install 'tritonclient[http]'` gets the client. Without it the test is skipped and says so;
//! `GUILDHALL_REQUIRE_TOOLS=1` makes that fail.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use guildhall_testkit::http::{Answer, send};
use guildhall_testkit::{Node, Package, publish_ok};
use serde_json::{Value, json};

use crate::lab;

/// Numbers of one picture.
const PIXELS: usize = 64;

/// What Triton's clients put in front of binary data.
const JSON_LENGTH: &str = "inference-header-content-length";

/// The example's model: 64 numbers in, a class out.
fn digits() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits/model")
}

/// The plain form of one of the example's pictures, and its class.
fn picture(name: &str) -> (Vec<u8>, String) {
    let tests = digits().join("tests");
    let pixels = fs::read(tests.join(format!("{name}.in.f32"))).expect("a picture");
    let said = fs::read(tests.join(format!("{name}.out.json"))).expect("predictions");
    let said: Value = serde_json::from_slice(&said).expect("JSON");
    (pixels, said[0]["value"]["class"].as_str().expect("a class").to_owned())
}

async fn get(node: &Node, path: &str) -> (u16, Value) {
    let answer = send(node, "GET", &format!("/oip/v2{path}"), "", b"").await;
    (answer.status, json_of(&answer))
}

fn json_of(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

async fn infer(node: &Node, model: &str, request: &Value) -> (u16, Value) {
    let path = format!("/oip/v2/models/{model}/infer");
    let lines = "content-type: application/json\r\n";
    let answer = send(node, "POST", &path, lines, request.to_string().as_bytes()).await;
    (answer.status, json_of(&answer))
}

/// ```text
///   curl ─▶ lab-a   (alone), with the digits example
/// ```
#[tokio::test]
async fn a_listing_answers_as_a_model_of_other_servers_does() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    publish_ok(&a, &digits()).await;

    assert_eq!(get(&a, "").await.1["extensions"], json!(["binary_tensor_data", "classification"]));
    assert_eq!(get(&a, "/health/live").await.0, 200);
    assert_eq!(get(&a, "/health/ready").await.0, 200);
    let (_, index) = get(&a, "/models").await;
    let name =
        json!({ "name": "lab-a/digits-mlp", "version": "1.0.0", "state": "READY", "reason": "" });
    assert_eq!(index, json!([name]));
    for model in
        ["lab-a/digits-mlp", "lab-a%2Fdigits-mlp%401.0.0", "lab-a/digits-mlp/versions/1.0.0"]
    {
        let (status, metadata) = get(&a, &format!("/models/{model}")).await;
        assert_eq!((status, &metadata["versions"]), (200, &json!(["1.0.0"])), "{metadata}");
        assert_eq!(metadata["inputs"][0]["name"], "pixels");
        assert_eq!(metadata["inputs"][0]["datatype"], "FP32");
        assert_eq!(metadata["inputs"][0]["shape"], json!([-1, 64]));
        assert_eq!(metadata["outputs"][0]["parameters"]["labels"][7], "7");
        assert_eq!(get(&a, &format!("/models/{model}/ready")).await.0, 200);
    }

    let pictures: Vec<_> = ["1", "2", "3"].map(picture).into_iter().collect();
    let numbers = |bytes: &[u8]| -> Vec<f32> {
        bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    };
    let rows: Vec<_> = pictures.iter().map(|(bytes, _)| numbers(bytes)).collect();
    let classes: Vec<_> = pictures.iter().map(|(_, class)| class.clone()).collect();
    let input = |shape: Value, data: Value| json!({ "name": "pixels", "shape": shape, "datatype": "FP32", "data": data });

    let request = json!({ "id": "mine", "inputs": [input(json!([3, PIXELS]), json!(rows))] });
    let (status, answer) = infer(&a, "lab-a/digits-mlp", &request).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!((&answer["id"], &answer["model_version"]), (&json!("mine"), &json!("1.0.0")));
    let digit = json!({ "name": "digit", "datatype": "BYTES", "shape": [3], "data": classes });
    assert_eq!(answer["outputs"][0], digit);
    assert_eq!(answer["outputs"][1]["name"], "digit.confidence");
    assert!(
        answer["outputs"][1]["data"][0].as_f64().is_some_and(|sure| (0.74..0.76).contains(&sure))
    );
    let run = answer["parameters"]["run_id"].as_str().expect("a run");
    let receipt = format!("/api/v1/runs/{run}/receipt");
    assert_eq!(send(&a, "GET", &receipt, "", b"").await.status, 200, "there is a receipt");

    let flat: Vec<f32> = rows.concat();
    let request = json!({ "inputs": [input(json!([3, PIXELS]), json!(flat))],
        "outputs": [{ "name": "digit", "parameters": { "classification": 1 } }] });
    let (_, answer) = infer(&a, "lab-a/digits-mlp/versions/1.0.0", &request).await;
    let first = format!(":{}:{}", classes[0], classes[0]);
    assert!(
        answer["outputs"][0]["data"][0].as_str().is_some_and(|text| text.ends_with(&first)),
        "{answer}"
    );
    assert_eq!(answer["outputs"].as_array().map(Vec::len), Some(1));

    let json = json!({ "inputs": [{ "name": "pixels", "shape": [2, PIXELS], "datatype": "FP32",
        "parameters": { "binary_data_size": 2 * 4 * PIXELS } }],
        "parameters": { "binary_data_output": true } })
    .to_string();
    let lines = format!("{JSON_LENGTH}: {}\r\n", json.len());
    let body = [json.as_bytes(), &pictures[0].0, &pictures[1].0].concat();
    let answer = send(&a, "POST", "/oip/v2/models/lab-a/digits-mlp/infer", &lines, &body).await;
    let length = answer.header(JSON_LENGTH).and_then(|length| length.parse().ok());
    let (json, binary) = answer.body.split_at(length.expect("binary data"));
    let json: Value = serde_json::from_slice(json).expect("JSON");
    assert_eq!(json["outputs"][0]["parameters"]["binary_data_size"], 10, "{json}");
    let counted = |class: &str| [&1_u32.to_le_bytes(), class.as_bytes()].concat();
    assert_eq!(binary[..10], [counted(&classes[0]), counted(&classes[1])].concat());
    assert_eq!(binary.len(), 10 + 8, "two confidences follow");
}

/// ```text
///   curl ─▶ lab-a   (alone)
/// ```
#[tokio::test]
async fn what_is_wrong_is_said_in_the_form_of_the_protocol() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    publish_ok(&a, &digits()).await;
    let data = lab.write(&Package::data("pictures").files(1, 10, 1));
    publish_ok(&a, &data).await;
    let ones = |shape: Value| json!({ "inputs": [{ "name": "pixels", "shape": shape, "datatype": "FP32", "data": [1] }] });
    let said = |answer: (u16, Value)| {
        let text = answer.1["error"].as_str().expect("an error").to_owned();
        assert_eq!(answer.1.as_object().map(serde_json::Map::len), Some(1));
        (answer.0, text)
    };

    let (status, text) = said(get(&a, "/models/lab-a/digitz-mlp").await);
    assert!(status == 404 && text.contains("did you mean lab-a/digits-mlp"), "{text}");
    let (status, text) = said(get(&a, "/models/digits").await);
    assert!(status == 400 && text.starts_with("a model is ORG/NAME"), "{text}");
    assert_eq!(said(get(&a, "/models/lab-a/digits-mlp/versions/2.0.0").await).0, 404);
    assert_eq!(said(get(&a, "/models/lab-a/pictures/ready").await).0, 422);
    assert_eq!(said(get(&a, "/models/lab-a/digits-mlp/config").await).0, 404);
    assert_eq!(said(get(&a, "/nothing").await).0, 404);
    assert_eq!(said(get(&a, "/models/lab-a/digits-mlp/infer").await).0, 405);
    let (status, text) = said(infer(&a, "lab-a/digits-mlp", &ones(json!([1]))).await);
    assert_eq!(
        (status, text.as_str()),
        (400, "input pixels: its shape is [1], but this input is [-1, 64]")
    );

    let infer = "/oip/v2/models/lab-a/digits-mlp/infer";
    let claimed = format!("{JSON_LENGTH}: {}\r\n", u64::MAX);
    for (lines, body, status) in [
        ("content-type: text/plain\r\n", "{}", 415),
        ("content-encoding: gzip\r\n", "{}", 415),
        ("origin: http://evil.example\r\n", "{}", 403),
        ("", "{", 400),
        ("", "{\"inputs\": []}", 400),
        (claimed.as_str(), "{}", 400),
        ("inference-header-content-length: -1\r\n", "{}", 400),
    ] {
        let answer = send(&a, "POST", infer, lines, body.as_bytes()).await;
        assert!(json_of(&answer)["error"].is_string(), "{answer:?}");
        assert_eq!(answer.status, status, "{lines}{body}");
    }
}

/// ```text
///   tritonclient ─▶ lab-a   (alone), with the digits example
/// ```
#[tokio::test]
async fn the_client_of_triton_works_as_it_is() {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut asked = Command::new(&python);
    asked.args(["-c", "import tritonclient.http"]).stdout(Stdio::null()).stderr(Stdio::null());
    if !asked.status().is_ok_and(|status| status.success()) {
        let message = "skipped: no tritonclient; to get it: pip install 'tritonclient[http]', \
                       PYTHON names the interpreter";
        assert!(std::env::var_os("GUILDHALL_REQUIRE_TOOLS").is_none(), "{message}");
        eprintln!("{message}");
        return;
    }
    let lab = lab();
    let a = lab.found("lab-a").await;
    publish_ok(&a, &digits()).await;
    let authority = a.ready().api.strip_prefix("http://").expect("a URL").to_owned();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/it/oip_triton.py");
    let ran = tokio::task::spawn_blocking(move || {
        let mut client = Command::new(python);
        client.arg(script).arg(format!("{authority}/oip")).arg("lab-a/digits-mlp");
        client.arg(digits().join("tests")).output()
    });
    let said = ran.await.expect("it ends").expect("it runs");
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.status.success(), "{text}{}", String::from_utf8_lossy(&said.stderr));
    assert!(text.ends_with("all is well\n"), "{text}");
}
