//! Goal: the verifier accepts exactly the signatures that Amazon publishes.
//!
//! Method: every S3 example of Amazon's documentation (24 May 2013, the key pair
//! `AKIAIOSFODNN7EXAMPLE`) is verified as it stands, then with one thing changed.
//! Sources:
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html>

use super::*;
use bytes::Bytes;

const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const HOST: &str = "examplebucket.s3.amazonaws.com";
/// 2013-05-24T00:00:00Z.
const THEN: UnixMs = UnixMs(1_369_353_600_000);
const MINUTE_MS: i64 = 60_000;

fn request(method: &str, uri: &str, headers: &[(&str, &str)], body: &'static str) -> Request {
    let mut builder = http::Request::builder()
        .method(method)
        .uri(uri)
        .header("host", HOST);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Bytes::from_static(body.as_bytes())).unwrap()
}

fn authorization(signed_headers: &str, signature: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
         SignedHeaders={signed_headers},Signature={signature}"
    )
}

fn verify_at(request: &Request, now: UnixMs) -> Result<(), &'static str> {
    let credentials = [Credential::lasting(
        "AKIAIOSFODNN7EXAMPLE",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    )];
    let verifier = Verifier {
        credentials: &credentials,
        region: "us-east-1",
        now,
    };
    let query = Query::of(request.uri()).unwrap();
    verifier.verify(request, &query).map_err(|error| error.code)
}

fn verify(request: &Request) -> Result<(), &'static str> {
    verify_at(request, THEN)
}

fn get_object() -> Request {
    let auth = authorization(
        "host;range;x-amz-content-sha256;x-amz-date",
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    );
    let headers = [
        ("authorization", auth.as_str()),
        ("range", "bytes=0-9"),
        ("x-amz-content-sha256", EMPTY),
        ("x-amz-date", "20130524T000000Z"),
    ];
    request("GET", "/test.txt", &headers, "")
}

fn put_object(body: &'static str) -> Request {
    let auth = authorization(
        "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    );
    let headers = [
        ("authorization", auth.as_str()),
        ("date", "Fri, 24 May 2013 00:00:00 GMT"),
        ("x-amz-date", "20130524T000000Z"),
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        (
            "x-amz-content-sha256",
            "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
        ),
    ];
    request("PUT", "/test%24file.text", &headers, body)
}

fn signed_get(uri: &str, signature: &str) -> Request {
    let auth = authorization("host;x-amz-content-sha256;x-amz-date", signature);
    let headers = [
        ("authorization", auth.as_str()),
        ("x-amz-content-sha256", EMPTY),
        ("x-amz-date", "20130524T000000Z"),
    ];
    request("GET", uri, &headers, "")
}

fn presigned(signature: &str) -> Request {
    let uri = format!(
        "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256\
         &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
         &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
         &X-Amz-Signature={signature}"
    );
    request("GET", &uri, &[], "")
}

const PRESIGNED: &str = "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";

#[test]
fn the_published_examples_verify() {
    assert_eq!(verify(&get_object()), Ok(()), "get object");
    assert_eq!(
        verify(&put_object("Welcome to Amazon S3.")),
        Ok(()),
        "put object"
    );
    let lifecycle = "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543";
    assert_eq!(
        verify(&signed_get("/?lifecycle", lifecycle)),
        Ok(()),
        "get bucket lifecycle"
    );
    let list = "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7";
    assert_eq!(
        verify(&signed_get("/?max-keys=2&prefix=J", list)),
        Ok(()),
        "list objects"
    );
    assert_eq!(
        verify(&signed_get("/?prefix=J&max-keys=2", list)),
        Ok(()),
        "in another order"
    );
    assert_eq!(verify(&presigned(PRESIGNED)), Ok(()), "presigned");
}

#[test]
fn any_change_is_noticed() {
    let changes: [fn(&mut Request); 6] = [
        |r| *r.method_mut() = http::Method::HEAD,
        |r| *r.uri_mut() = "/test.txu".parse().unwrap(),
        |r| *r.uri_mut() = "/test.txt?x=".parse().unwrap(),
        |r| {
            drop(
                r.headers_mut()
                    .insert("range", "bytes=0-8".parse().unwrap()),
            )
        },
        |r| {
            drop(
                r.headers_mut()
                    .insert("host", "other.s3.amazonaws.com".parse().unwrap()),
            )
        },
        |r| drop(r.headers_mut().remove("range")),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut changed = get_object();
        change(&mut changed);
        assert_eq!(
            verify(&changed),
            Err("SignatureDoesNotMatch"),
            "change {number}"
        );
    }
    assert_eq!(
        verify(&put_object("Welcome to Amazon S4.")),
        Err("XAmzContentSHA256Mismatch")
    );
    let mut added = get_object();
    added
        .headers_mut()
        .insert("x-amz-acl", "public-read".parse().unwrap());
    assert_eq!(
        verify(&added),
        Err("AccessDenied"),
        "an x-amz header that is not signed"
    );
    let wrong = PRESIGNED.replace("aeeed9", "aeeed8");
    assert_eq!(verify(&presigned(&wrong)), Err("SignatureDoesNotMatch"));
    assert_eq!(
        verify(&request("GET", "/test.txt", &[], "")),
        Err("AccessDenied"),
        "anonymous"
    );
}

#[test]
fn time_is_checked() {
    assert_eq!(
        verify_at(&get_object(), THEN.offset_ms(15 * MINUTE_MS)),
        Ok(())
    );
    assert_eq!(
        verify_at(&get_object(), THEN.offset_ms(-15 * MINUTE_MS)),
        Ok(())
    );
    for off in [15 * MINUTE_MS + 1, -15 * MINUTE_MS - 1] {
        assert_eq!(
            verify_at(&get_object(), THEN.offset_ms(off)),
            Err("RequestTimeTooSkewed")
        );
    }
    assert_eq!(
        verify_at(&presigned(PRESIGNED), THEN.offset_ms(24 * 60 * MINUTE_MS)),
        Ok(())
    );
    assert_eq!(
        verify_at(
            &presigned(PRESIGNED),
            THEN.offset_ms(24 * 60 * MINUTE_MS + 1)
        ),
        Err("AccessDenied")
    );
    assert_eq!(
        verify_at(&presigned(PRESIGNED), THEN.offset_ms(-16 * MINUTE_MS)),
        Err("AccessDenied")
    );
}

#[test]
fn scope_key_and_token_are_checked() {
    let with = |from: &str, to: &str| {
        let mut request = get_object();
        let header = request.headers()["authorization"]
            .to_str()
            .unwrap()
            .replace(from, to);
        request
            .headers_mut()
            .insert("authorization", header.parse().unwrap());
        verify(&request)
    };
    assert_eq!(
        with("us-east-1", "us-west-2"),
        Err("AuthorizationHeaderMalformed")
    );
    assert_eq!(with("/s3/", "/iam/"), Err("AuthorizationHeaderMalformed"));
    assert_eq!(
        with("20130524", "20130525"),
        Err("AuthorizationHeaderMalformed")
    );
    assert_eq!(
        with("AKIAIOSFODNN7EXAMPLE", "AKIAOTHER"),
        Err("InvalidAccessKeyId")
    );
    assert_eq!(
        with("Signature=", "Sig="),
        Err("AuthorizationHeaderMalformed")
    );

    let token_of = |expected: Option<&str>, expires_at: Option<UnixMs>| {
        let credential = Credential {
            session_token: expected.map(str::to_owned),
            expires_at,
            ..Credential::lasting(
                "AKIAIOSFODNN7EXAMPLE",
                "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            )
        };
        let verifier = Verifier {
            credentials: &[credential],
            region: "us-east-1",
            now: THEN,
        };
        verifier
            .verify(&get_object(), &Query::default())
            .map_err(|error| error.code)
    };
    assert_eq!(token_of(None, None), Ok(()));
    assert_eq!(
        token_of(Some("token"), None),
        Err("InvalidToken"),
        "a token that was not sent"
    );
    assert_eq!(token_of(None, Some(THEN)), Err("ExpiredToken"));
}
