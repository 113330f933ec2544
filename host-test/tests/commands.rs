//! Goal: the commands that people run do what they say, and fail when they must.
//!
//! Method: the binaries of the harness as `cargo xtask` starts them; what they print
//! is read as a script would read it.

use anyhow::Result;
use host_test::artifact::Artifact;
use host_test::seaweed::Seaweed;
use host_test::world::Site;
use std::process::{Command, Output};

fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("cannot run {program}: {error}"))
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The number that follows `"name":` in a line of JSON.
fn number(json: &str, name: &str) -> f64 {
    let (_, rest) = json
        .split_once(&format!("\"{name}\":"))
        .unwrap_or_else(|| panic!("no {name} in {json}"));
    let end = rest.find([',', '}']).unwrap();
    rest[..end]
        .parse()
        .unwrap_or_else(|_| panic!("{name}: {rest}"))
}

#[test]
fn every_operation_is_within_its_budget() {
    let output = run(env!("CARGO_BIN_EXE_budget"), &[]);
    let table = text(&output.stdout);
    println!("{table}");
    assert!(output.status.success(), "{table}{}", text(&output.stderr));
    assert!(!table.contains("OVER"));

    let output = run(env!("CARGO_BIN_EXE_budget"), &["--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let rows: Vec<&str> = text(&output.stdout).trim().lines().collect();
    assert!(rows[0].starts_with('[') && rows[rows.len() - 1].ends_with(']'));
    assert!(rows.len() > 20, "{rows:?}");
    for row in rows {
        let (measured, maximum) = (number(row, "measured"), number(row, "maximum"));
        assert!(0.0 < measured && measured <= maximum, "{row}");
    }
}

#[test]
fn the_demo_loses_and_doubles_nothing() {
    let arguments = ["--seconds", "3", "--writers", "3", "--seed", "5", "--json"];
    let output = run(env!("CARGO_BIN_EXE_demo"), &arguments);
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{shown}{}", text(&output.stderr));
    let json = shown.trim_end().lines().next_back().unwrap();
    let figure = |name| number(json, name);
    assert!(figure("acknowledged") > 10.0, "{json}");
    assert_eq!(figure("appends"), figure("acknowledged"), "{json}");
    assert_eq!(figure("found"), figure("acknowledged"), "{json}");
    assert_eq!((figure("lost"), figure("duplicated")), (0.0, 0.0), "{json}");
    assert!(
        figure("requests_per_append") >= 1.0 && figure("put") >= figure("found"),
        "{json}"
    );
    assert!(figure("lose-reply") >= 1.0, "{json}");

    // The second act.
    assert!(figure("terms") >= 6.0, "{json}");
    assert!(figure("zombie_writes_refused") >= 4.0, "{json}");
    let [min, median, max] = ["min", "median", "max"].map(figure);
    assert!(
        2_000.0 < min && min <= median && median <= max && max < 15_000.0,
        "{json}"
    );
    let (_, path) = shown.split_once("as a picture: ").unwrap();
    let picture = std::fs::read_to_string(path.lines().next().unwrap()).unwrap();
    assert!(picture.starts_with("<svg") && picture.trim_end().ends_with("</svg>"));
    assert!(!picture.contains("<script") && !picture.contains("href"));
    // Nothing that only a terminal understands.
    assert!(!shown.contains('\x1b') && !shown.contains('\r'));
}

/// The demo on a real server, where it leaves nothing behind.
#[tokio::test]
async fn the_demo_runs_on_a_real_server() -> Result<()> {
    let endpoint = Seaweed::shared()?.endpoint();
    let demo = |secret: &str| {
        Command::new(env!("CARGO_BIN_EXE_demo"))
            .args(["--store", &endpoint.url, "--bucket", &endpoint.bucket])
            .args(["--writers", "2", "--appends", "20", "--json"])
            .env("AWS_ACCESS_KEY_ID", &endpoint.credential.access_key)
            .env("AWS_SECRET_ACCESS_KEY", secret)
            .env_remove("AWS_SESSION_TOKEN")
            .env("AWS_REGION", &endpoint.region)
            .output()
    };
    let output = demo(&endpoint.credential.secret_key)?;
    let shown = text(&output.stdout);
    println!("{shown}");
    assert!(output.status.success(), "{shown}{}", text(&output.stderr));
    let json = shown.trim_end().lines().next_back().unwrap();
    let figure = |name| number(json, name);
    assert_eq!((figure("appends"), figure("found")), (20.0, 20.0), "{json}");
    assert_eq!((figure("lost"), figure("duplicated")), (0.0, 0.0), "{json}");
    assert!(figure("put") >= 20.0, "{json}");

    let site = Site::on_this_machine(&endpoint, 1);
    let mut port = site.instance("port").artifact(Artifact::BucketS3).await?;
    let left = port
        .bucket()
        .list_objects("ifmatch-demo/", None, 10)
        .await??;
    assert!(left.objects.is_empty(), "{:?}", left.objects);

    let output = demo("not-the-secret")?;
    let said = text(&output.stderr);
    assert!(
        !output.status.success() && said.contains("AWS_SECRET_ACCESS_KEY"),
        "{said}"
    );
    Ok(())
}

#[test]
fn wrong_arguments_are_explained() {
    for program in [env!("CARGO_BIN_EXE_budget"), env!("CARGO_BIN_EXE_demo")] {
        let output = run(program, &["--no-such-flag"]);
        assert!(!output.status.success());
        assert!(text(&output.stderr).contains("usage: cargo xtask"));
        let output = run(program, &["--help"]);
        assert!(output.status.success());
        assert!(text(&output.stdout).starts_with("usage: cargo xtask"));
    }
}
