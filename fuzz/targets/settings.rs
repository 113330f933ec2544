//! Settings: one `NAME=value` on each line.
#![no_main]

use bucket_s3::s3::config::Config;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let variables: Vec<(String, String)> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    match fuzz::bounded(text.len(), || Config::from_variables(&variables)) {
        Ok(config) => {
            let origin = config.origin();
            assert!(origin.starts_with("http"), "{origin}");
            assert!(origin.is_ascii(), "{origin}");
        }
        Err(error) => {
            let text = format!("{error:?}");
            // Shorter texts occur in any message.
            for (name, value) in &variables {
                let told = value.contains("secret-of") && text.contains(value);
                assert!(!told, "{name} in {text}");
            }
        }
    }
});
