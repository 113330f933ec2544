//! A client without a transport: it signs addresses and reads replies.

use rusty_s3::actions::{ListObjectsV2, S3Action};
use rusty_s3::{Bucket, Credentials, UrlStyle};
use std::time::Duration;

#[link(wasm_import_module = "host")]
unsafe extern "C" {
    fn send(uri: *const u8, length: usize, reply: *mut u8, limit: usize) -> usize;
}

fn exchange(address: &str, reply: &mut [u8]) -> usize {
    // SAFETY: the host reads and writes as many bytes as it is told.
    unsafe { send(address.as_ptr(), address.len(), reply.as_mut_ptr(), reply.len()) }
}

#[unsafe(no_mangle)]
extern "C" fn run() -> usize {
    let Ok(endpoint) = "https://s3.us-east-1.amazonaws.com".parse() else {
        return 0;
    };
    let Ok(bucket) = Bucket::new(endpoint, UrlStyle::Path, "b", "us-east-1") else {
        return 0;
    };
    let credentials = Credentials::new("key", "secret");
    let hour = Duration::from_secs(3_600);
    let mut reply = vec![0; 1 << 16];
    let mut put = bucket.put_object(Some(&credentials), "k");
    put.headers_mut().insert("if-none-match", "*");
    let mut total = exchange(put.sign(hour).as_str(), &mut reply);
    let get = bucket.get_object(Some(&credentials), "k");
    total += exchange(get.sign(hour).as_str(), &mut reply);
    let mut list = bucket.list_objects_v2(Some(&credentials));
    list.with_prefix("p");
    let length = exchange(list.sign(hour).as_str(), &mut reply);
    let text = String::from_utf8_lossy(&reply[..length.min(reply.len())]).into_owned();
    total += ListObjectsV2::parse_response(&text).map_or(0, |page| page.contents.len());
    let delete = bucket.delete_object(Some(&credentials), "k");
    total + exchange(delete.sign(hour).as_str(), &mut reply)
}
