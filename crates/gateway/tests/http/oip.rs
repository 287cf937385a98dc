//! The Open Inference Protocol over real sockets.

use serde_json::json;

use crate::fake::{Running, run_id};
use crate::raw;

#[tokio::test]
async fn a_model_is_found_scored_and_answered() {
    let gateway = Running::start(None).await;
    let get = async |path: &str| {
        let path = format!("/oip/v2{path}");
        let answer = raw::get(gateway.address, &path, "host: localhost\r\n").await;
        (raw::status(&answer), raw::json(&answer))
    };
    assert_eq!(get("").await.1["name"], "guildhall");
    for path in ["/health/live", "/health/ready", "/models/lab-a/double/ready"] {
        assert_eq!(get(path).await.0, 200, "{path}");
    }
    let inputs =
        json!([{ "name": "x", "datatype": "FP32", "shape": [2, 2], "data": [1, 2, 3, 4] }]);
    for path in ["lab-a/double", "lab-a%2Fdouble"] {
        let path = format!("/oip/v2/models/{path}/infer");
        let body = json!({ "inputs": inputs }).to_string();
        let answer = raw::post_json(gateway.address, &path, &body).await;
        let outputs = json!([{ "name": "y", "datatype": "FP32", "shape": [2, 2], "data": [2.0, 4.0, 6.0, 8.0] }]);
        let expected = json!({ "model_name": "lab-a/double", "model_version": "1.0.0",
            "parameters": { "run_id": run_id().to_string() }, "outputs": outputs });
        assert_eq!(raw::json(&answer), expected, "{answer}");
    }
}

#[tokio::test]
async fn a_record_that_fails_fails_the_request_and_is_named() {
    let gateway = Running::start(None).await;
    let inputs =
        json!([{ "name": "x", "datatype": "FP32", "shape": [2, 2], "data": [1, 2, "NaN", 4] }]);
    let body = json!({ "inputs": inputs }).to_string();
    let path = "/oip/v2/models/lab-a/double/infer";
    let answer = raw::post_json(gateway.address, path, &body).await;
    assert_eq!(raw::status(&answer), 422);
    assert_eq!(raw::json(&answer), json!({ "error": "record 1: that is no number" }));
}

#[tokio::test]
async fn refusals_have_the_form_of_the_protocol_below_oip_and_nowhere_else() {
    let gateway = Running::start(Some("secret")).await;
    let get = async |path: &str, headers: &str| {
        let headers = format!("host: localhost\r\n{headers}");
        raw::get(gateway.address, path, &headers).await
    };
    let token = "authorization: Bearer secret\r\n";
    let refused = get("/oip/v2/health/live", "").await;
    assert_eq!(raw::status(&refused), 401);
    assert!(refused.to_lowercase().contains("www-authenticate: bearer"), "{refused}");
    let expected = "this node expects a token (help: GUILD_TOKEN=... guild status)";
    assert_eq!(raw::json(&refused), json!({ "error": expected }));
    assert_eq!(raw::status(&get("/oip/v2/health/live", token).await), 200);
    for (path, status, text) in [
        ("/oip/v3", 404, "there is no route \"/oip/v3\""),
        ("/oip", 404, "there is no route \"/oip\""),
        ("/oip/v2/models/lab-a/none", 404, "there is no model (help: guild search)"),
        ("/oip/v2/repository/index", 405, "this route has no method GET"),
    ] {
        let answer = get(path, token).await;
        assert_eq!((raw::status(&answer), raw::json(&answer)), (status, json!({ "error": text })));
    }
    let escaped = get("/oip/v2/models/lab-a/%ff", token).await;
    assert_eq!(raw::status(&escaped), 400);
    assert!(raw::json(&escaped)["error"].is_string(), "{escaped}");
    assert!(raw::json(&get("/oipx", token).await)["code"].is_string());
    assert!(raw::json(&get("/api/v1/nothing", token).await)["code"].is_string());
}

#[tokio::test]
async fn a_page_of_another_origin_cannot_send_anything() {
    let gateway = Running::start(None).await;
    let post = async |headers: &str| {
        let request = format!(
            "POST /oip/v2/models/lab-a/double/infer HTTP/1.1\r\nhost: localhost\r\n{headers}\
             content-length: 2\r\nconnection: close\r\n\r\n{{}}"
        );
        raw::status(&raw::exchange(gateway.address, &request).await)
    };
    assert_eq!(post("origin: http://evil.example\r\n").await, 403);
    assert_eq!(post("content-type: text/plain\r\n").await, 415);
    assert_eq!(post("content-type: application/x-www-form-urlencoded\r\n").await, 415);
    assert_eq!(post("").await, 400, "it has come as far as its inputs");
}
