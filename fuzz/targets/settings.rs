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
            for (name, value) in &variables {
                let secret = name == "AWS_SECRET_ACCESS_KEY" || name == "AWS_SESSION_TOKEN";
                // Other values may occur in any text.
                let told = secret && value.contains('~') && text.contains(value);
                assert!(!told, "{name} in {text}");
            }
        }
    }
});
