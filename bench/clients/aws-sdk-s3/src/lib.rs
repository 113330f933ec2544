//! The official SDK with a transport that the host provides.

use aws_sdk_s3::config::{Credentials, Region};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use aws_sdk_s3::{Client, Config};
use aws_smithy_async::rt::sleep::{AsyncSleep, Sleep};
use aws_smithy_async::time::TimeSource;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[link(wasm_import_module = "host")]
unsafe extern "C" {
    fn send(uri: *const u8, length: usize, headers: usize, body: usize) -> u16;
    fn now_s() -> u64;
    fn random() -> u64;
}

#[derive(Clone, Debug)]
struct Host;

impl HttpConnector for Host {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let uri = request.uri().to_owned();
        let headers = request.headers().iter().count();
        let body = request.body().bytes().map_or(0, <[u8]>::len);
        // SAFETY: the host reads as many bytes as it is told.
        let status = unsafe { send(uri.as_ptr(), uri.len(), headers, body) };
        let status = status.try_into().unwrap_or_else(|_| 200.try_into().unwrap());
        HttpConnectorFuture::ready(Ok(HttpResponse::new(status, SdkBody::empty())))
    }
}

impl HttpClient for Host {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Host)
    }
}

impl AsyncSleep for Host {
    fn sleep(&self, _: Duration) -> Sleep {
        Sleep::new(std::future::ready(()))
    }
}

impl TimeSource for Host {
    fn now(&self) -> SystemTime {
        // SAFETY: it takes nothing.
        UNIX_EPOCH + Duration::from_secs(unsafe { now_s() })
    }
}

#[unsafe(no_mangle)]
extern "C" fn run() -> usize {
    let config = Config::builder()
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("key", "secret", None, None, "host"))
        .http_client(Host)
        .sleep_impl(Host)
        .time_source(Host)
        .build();
    let client = Client::from_conf(config);
    futures_executor::block_on(async {
        let body = ByteStream::from_static(b"body");
        let put = client.put_object().bucket("b").key("k").if_none_match("*");
        let put = put.body(body).send().await;
        let got = client.get_object().bucket("b").key("k").send().await;
        let listed = client.list_objects_v2().bucket("b").prefix("p").send().await;
        let one = ObjectIdentifier::builder().key("k").build();
        let delete = one.and_then(|one| Delete::builder().objects(one).build());
        let deleted = match delete {
            Ok(delete) => client.delete_objects().bucket("b").delete(delete).send().await.is_ok(),
            Err(_) => false,
        };
        usize::from(put.is_ok())
            + usize::from(got.is_ok())
            + listed.map_or(0, |page| page.contents().len())
            + usize::from(deleted)
    })
}

/// Random numbers, for crates that ask for them on a target that has none.
#[unsafe(no_mangle)]
unsafe extern "Rust" fn __getrandom_v03_custom(
    to: *mut u8,
    length: usize,
) -> Result<(), getrandom_error::Error> {
    for at in 0..length {
        // SAFETY: the caller owns so many bytes.
        unsafe { to.add(at).write(random() as u8) };
    }
    Ok(())
}

mod getrandom_error {
    pub type Error = core::num::NonZeroU32;
}
