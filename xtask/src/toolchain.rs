//! Finds a way to compile for `wasm32-unknown-unknown`.
//!
//! In this order: the target of the active toolchain; the same after rustup has
//! added it; Debian's compiler, which builds its standard library from source; the
//! same after apt-get has installed it. [`next`] decides on what [`Machine::probe`]
//! saw, and [`find`] does what it says until there is a way.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, fs};

use anyhow::{Result, bail};

use crate::{process, workspace};

/// What everything is compiled for: a component then imports exactly what its
/// world says, and nothing on behalf of a standard library.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// Debian's packages: compiler, cargo, source of the standard library, linker.
const PACKAGES: &[&str] = &["rustc-web", "cargo-web", "rust-web-src", "lld-22"];

/// rustup's name for the source of the standard library.
const SOURCE: &str = "rust-src";

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_SOURCE: &str = "/usr/lib/rustlib/src/rust/library/Cargo.toml";

/// Where Debian's compiler puts what it makes.
const DEBIAN_OUTPUT: &str = "target/wasm-debian";

/// Where the active toolchain does.
const ACTIVE_OUTPUT: &str = "target/wasm";

/// Where the standard library is built along, a panic can be a trap and nothing
/// else. What it would have printed, no host shows anyway, and it takes a seventh of
/// a component.
const SMALL_PANICS: [&str; 3] = [
    "-Zunstable-options",
    "-Cpanic=immediate-abort",
    "-Zlocation-detail=none",
];

/// Vectors of 128 bits, which every engine has that runs components: SHA-256 takes three
/// fifths of the instructions, in less code.
const SIMD: &str = "-Ctarget-feature=+simd128";

/// Structures are moved and cleared by one instruction rather than field by field,
/// which takes more code than most of them are long.
const SMALL_MOVES: &str = "-Cllvm-args=-max-store-memcpy=1 -max-store-memset=1";

/// Half of what the linker reserves, of which a deep call takes a tenth. What lies
/// behind it, all constants that is, then has an address that is a byte shorter.
const SMALL_STACK: &str = "-Clink-arg=-zstack-size=524288";

/// The target is about 20 MB. Whoever cannot download it in this time has Debian's
/// packages, or gets told.
const RUSTUP_LIMIT: Duration = Duration::from_secs(120);
const APT_UPDATE_LIMIT: Duration = Duration::from_secs(180);
const APT_INSTALL_LIMIT: Duration = Duration::from_secs(900);

/// A way to compile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Toolchain {
    /// The toolchain that runs this program has the target.
    Active {
        /// The source of its standard library is there, so that it can be built
        /// along.
        source: bool,
    },
    /// Debian's compiler, with this linker.
    Debian {
        /// The program, such as `/usr/bin/wasm-ld-22`.
        linker: PathBuf,
    },
}

/// Which ways the caller accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The first that works.
    Any,
    /// Only the active toolchain.
    Active,
    /// Only Debian's.
    Debian,
}

impl Wish {
    /// Reads the value of `--toolchain`.
    pub fn parse(text: Option<&str>) -> Result<Self> {
        match text {
            None | Some("any") => Ok(Wish::Any),
            Some("active") => Ok(Wish::Active),
            Some("debian") => Ok(Wish::Debian),
            Some(other) => bail!("--toolchain is `any`, `active` or `debian`, not `{other}`"),
        }
    }
}

/// A release of the compiler: major and minor number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release(u32, u32);

impl Release {
    /// The oldest that can compile this workspace.
    fn oldest() -> Self {
        Release::parse(env!("CARGO_PKG_RUST_VERSION")).unwrap_or(Release(0, 0))
    }

    /// Reads `1.95`, `1.95.0` or `rustc 1.95.0 (...)`.
    fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix("rustc ").unwrap_or(text);
        let mut numbers = text.split(['.', ' ', '-']);
        let major = numbers.next()?.parse().ok()?;
        let minor = numbers.next()?.parse().ok()?;
        Some(Release(major, minor))
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// What a machine offers.
#[derive(Clone, Debug, Default)]
struct Machine {
    /// The active toolchain has the target.
    target: bool,
    /// The active toolchain has the source of its standard library.
    target_source: bool,
    /// rustup can be asked to add it.
    rustup: bool,
    /// The release of Debian's compiler.
    rustc: Option<Release>,
    /// Debian's cargo.
    cargo: bool,
    /// The source of the standard library for Debian's compiler.
    source: bool,
    /// The newest `wasm-ld`.
    linker: Option<PathBuf>,
    /// apt-get is there and may install packages.
    apt: bool,
    /// Debian's compiler has been used in this checkout.
    debian_was_used: bool,
    /// The active toolchain has been used in this checkout.
    active_was_used: bool,
}

/// What has been tried in vain.
#[derive(Clone, Debug, Default)]
struct Tried {
    rustup: bool,
    rustup_source: bool,
    apt: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Use(Toolchain),
    AddTarget,
    AddSource,
    InstallPackages,
    GiveUp,
}

impl Machine {
    fn probe() -> Self {
        Machine {
            target: active_target_is_there(),
            target_source: active_source_is_there(),
            rustup: process::output(Command::new("rustup").arg("--version")).is_some(),
            rustc: process::output(debian(DEBIAN_RUSTC).arg("--version"))
                .and_then(|version| Release::parse(&version)),
            cargo: Path::new(DEBIAN_CARGO).is_file(),
            source: Path::new(DEBIAN_SOURCE).is_file(),
            linker: fs::read_dir("/usr/bin")
                .ok()
                .and_then(|directory| newest_linker(directory.flatten().map(|entry| entry.path()))),
            apt: can_install(),
            debian_was_used: workspace::root().join(DEBIAN_OUTPUT).is_dir(),
            active_was_used: workspace::root().join(ACTIVE_OUTPUT).is_dir(),
        }
    }

    /// Debian's way, if it is complete and recent enough.
    fn debian(&self) -> Option<Toolchain> {
        let recent = self.rustc? >= Release::oldest();
        let linker = self.linker.clone()?;
        (recent && self.cargo && self.source).then_some(Toolchain::Debian { linker })
    }
}

/// What to do next on such a machine.
fn next(machine: &Machine, tried: &Tried, wish: Wish) -> Step {
    if wish != Wish::Debian {
        if machine.target {
            let source = machine.target_source;
            let worth_asking = machine.rustup && !tried.rustup_source && !machine.active_was_used;
            return if !source && worth_asking {
                Step::AddSource
            } else {
                Step::Use(Toolchain::Active { source })
            };
        }
        // rustup did not help before. Where it has no network, asking it again for
        // every build could take minutes each time.
        if wish == Wish::Any
            && machine.debian_was_used
            && let Some(toolchain) = machine.debian()
        {
            return Step::Use(toolchain);
        }
        if machine.rustup && !tried.rustup {
            return Step::AddTarget;
        }
    }
    if wish != Wish::Active {
        if let Some(toolchain) = machine.debian() {
            return Step::Use(toolchain);
        }
        if machine.apt && !tried.apt {
            return Step::InstallPackages;
        }
    }
    Step::GiveUp
}

/// Finds a way to compile, and installs what it needs.
pub fn find(wish: Wish) -> Result<Toolchain> {
    let mut tried = Tried::default();
    // Each round either ends or marks one of three things as tried.
    loop {
        let machine = Machine::probe();
        let outcome = match next(&machine, &tried, wish) {
            Step::Use(toolchain) => return Ok(toolchain),
            Step::AddTarget => {
                tried.rustup = true;
                add_target()
            }
            Step::AddSource => {
                tried.rustup_source = true;
                add_source()
            }
            Step::InstallPackages => {
                tried.apt = true;
                install(PACKAGES)
            }
            Step::GiveUp => bail!("{}", advice(&machine)),
        };
        if let Err(error) = outcome {
            eprintln!("warning: {error:#}");
        }
    }
}

fn add_target() -> Result<()> {
    eprintln!("adding {TARGET} to the active toolchain");
    process::run_within(
        Command::new("rustup").args(["target", "add", TARGET]),
        RUSTUP_LIMIT,
    )
}

/// Only for smaller components: what they do is the same without it.
fn add_source() -> Result<()> {
    eprintln!("adding {SOURCE} to the active toolchain, for smaller components");
    process::run_within(
        Command::new("rustup").args(["component", "add", SOURCE]),
        RUSTUP_LIMIT,
    )
}

/// Whether Debian's packages can be installed by us.
pub fn can_install() -> bool {
    Path::new("/usr/bin/apt-get").is_file() && is_root()
}

/// Installs packages of Debian.
pub fn install(packages: &[&str]) -> Result<()> {
    eprintln!("installing {}", packages.join(" "));
    let install = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
            .args(["install", "-y", "--no-install-recommends"])
            .args(packages);
        process::run_within(&mut command, APT_INSTALL_LIMIT)
    };
    if install().is_ok() {
        return Ok(());
    }
    // The package lists may be missing or stale.
    process::run_within(Command::new("apt-get").arg("update"), APT_UPDATE_LIMIT)?;
    install()
}

fn advice(machine: &Machine) -> String {
    let mut text = format!("nothing here compiles for {TARGET}. Either of these helps:\n");
    text.push_str(&format!("  rustup target add {TARGET}\n"));
    text.push_str("  apt-get update && apt-get install -y --no-install-recommends ");
    text.push_str(&PACKAGES.join(" "));
    let found = |there: bool| if there { "found" } else { "missing" };
    let rustc = match machine.rustc {
        Some(release) if release < Release::oldest() => {
            format!("{release}, older than {}", Release::oldest())
        }
        other => found(other.is_some()).to_owned(),
    };
    text.push_str(&format!(
        "\n({DEBIAN_RUSTC}: {rustc}; {DEBIAN_CARGO}: {}; {DEBIAN_SOURCE}: {}; wasm-ld: {})",
        found(machine.cargo),
        found(machine.source),
        found(machine.linker.is_some()),
    ));
    text
}

fn active_target_is_there() -> bool {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", TARGET]);
    process::output(&mut rustc).is_some_and(|path| {
        let mut entries = fs::read_dir(path.trim_end())
            .into_iter()
            .flatten()
            .flatten();
        // The directory may outlive its contents.
        entries.any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
    })
}

fn active_source_is_there() -> bool {
    process::output(Command::new("rustc").args(["--print", "sysroot"])).is_some_and(|sysroot| {
        let library = Path::new(sysroot.trim_end()).join("lib/rustlib/src/rust/library");
        library.join("Cargo.toml").is_file()
    })
}

fn is_root() -> bool {
    process::output(Command::new("id").arg("-u")).is_some_and(|id| id.trim() == "0")
}

/// The `wasm-ld` with the highest version; one without a version is the last resort.
fn newest_linker(programs: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    let version = |path: &Path| -> Option<u32> {
        match path.file_name()?.to_str()?.strip_prefix("wasm-ld")? {
            "" => Some(0),
            suffix => suffix.strip_prefix('-')?.parse().ok(),
        }
    };
    programs
        .filter_map(|path| Some((version(&path)?, path)))
        .max()
        .map(|(_, path)| path)
}

/// A Debian program, without what rustup and cargo tell the programs they start:
/// it would make one toolchain use parts of the other.
fn debian(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(belongs_to_a_toolchain) {
            command.env_remove(name);
        }
    }
    command
}

/// Whether cargo or rustup sets a variable for one toolchain or package. Settings
/// of the person who runs this (home, network, registries) stay.
fn belongs_to_a_toolchain(name: &str) -> bool {
    const KEPT: &[&str] = &[
        "CARGO_HOME",
        "CARGO_HTTP_",
        "CARGO_NET_",
        "CARGO_REGISTR",
        "CARGO_SOURCE_",
        "CARGO_TERM_",
        "RUST_BACKTRACE",
        "RUST_LOG",
    ];
    let ours = ["CARGO", "RUST", "LD_LIBRARY_PATH"]
        .iter()
        .any(|start| name.starts_with(start));
    ours && !KEPT.iter().any(|start| name.starts_with(start))
}

impl Toolchain {
    /// A `cargo build` (or another subcommand) for the target. The caller adds
    /// packages and a profile.
    pub fn cargo(&self, subcommand: &str) -> Command {
        let root = workspace::root();
        let mut flags = Vec::new();
        let (mut command, from_source) = match self {
            Toolchain::Active { source } => {
                let mut command = Command::new(workspace::cargo());
                command.arg(subcommand);
                (command, *source)
            }
            Toolchain::Debian { linker } => {
                let mut command = debian(DEBIAN_CARGO);
                command.env("RUSTC", DEBIAN_RUSTC);
                command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
                command.arg(subcommand);
                (command, true)
            }
        };
        if from_source {
            // Building the standard library is an unstable option of cargo.
            command.env("RUSTC_BOOTSTRAP", "1");
            command.arg("-Zbuild-std=std,panic_abort");
            command.arg("-Zbuild-std-features=optimize_for_size");
            flags.extend(SMALL_PANICS.map(str::to_owned));
            flags.push(SMALL_MOVES.to_owned());
            flags.push(SMALL_STACK.to_owned());
        }
        command.current_dir(&root).arg("--target").arg(TARGET);
        command.arg("--target-dir").arg(self.target_directory());
        flags.push(SIMD.to_owned());
        // Paths of this machine must not end up in the messages of panics: they
        // cost bytes, and make the artifact differ from one machine to the next.
        flags.push(format!("--remap-path-prefix={}=/ifmatch", root.display()));
        if let Some(home) = workspace::cargo_home() {
            flags.push(format!("--remap-path-prefix={}=/cargo", home.display()));
        }
        command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
        command
    }

    /// Whether the standard library is built along, for smaller components.
    pub fn builds_the_standard_library(&self) -> bool {
        !matches!(self, Toolchain::Active { source: false })
    }

    /// Where the build of a package ends up.
    pub fn output(&self, profile: &str, package: &str) -> PathBuf {
        let directory = self.target_directory().join(TARGET).join(profile);
        directory
            .join(package.replace('-', "_"))
            .with_extension("wasm")
    }

    /// Apart from the native build, and from each other, so that no compiler
    /// discards the work of another.
    fn target_directory(&self) -> PathBuf {
        workspace::root().join(match self {
            Toolchain::Active { .. } => ACTIVE_OUTPUT,
            Toolchain::Debian { .. } => DEBIAN_OUTPUT,
        })
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Toolchain::Active { source: true } => {
                write!(
                    f,
                    "the active toolchain and its standard library from source"
                )
            }
            Toolchain::Active { source: false } => write!(f, "the active toolchain"),
            Toolchain::Debian { linker } => {
                write!(f, "{DEBIAN_RUSTC} with {}", linker.display())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    //! Every branch of the decision, on machines that need not exist.

    use super::*;

    fn debian_machine() -> Machine {
        Machine {
            rustc: Some(Release::oldest()),
            cargo: true,
            source: true,
            linker: Some("/usr/bin/wasm-ld-22".into()),
            ..Machine::default()
        }
    }

    fn step(machine: &Machine) -> Step {
        next(machine, &Tried::default(), Wish::Any)
    }

    #[test]
    fn an_installed_target_is_used_before_anything_else() {
        let machine = Machine {
            target: true,
            apt: true,
            ..debian_machine()
        };
        assert_eq!(
            step(&machine),
            Step::Use(Toolchain::Active { source: false })
        );
    }

    #[test]
    fn the_source_is_asked_for_once_and_used_where_it_is() {
        let machine = Machine {
            target: true,
            rustup: true,
            ..Machine::default()
        };
        assert_eq!(step(&machine), Step::AddSource);
        let without = Step::Use(Toolchain::Active { source: false });
        let tried = Tried {
            rustup_source: true,
            ..Tried::default()
        };
        assert_eq!(next(&machine, &tried, Wish::Any), without);
        let used = Machine {
            active_was_used: true,
            ..machine.clone()
        };
        assert_eq!(step(&used), without);
        let with = Machine {
            target_source: true,
            ..machine
        };
        assert_eq!(step(&with), Step::Use(Toolchain::Active { source: true }));
    }

    #[test]
    fn rustup_is_asked_once_and_then_debian_is_used() {
        let machine = Machine {
            rustup: true,
            ..debian_machine()
        };
        assert_eq!(step(&machine), Step::AddTarget);
        let tried = Tried {
            rustup: true,
            ..Tried::default()
        };
        let expected = Toolchain::Debian {
            linker: "/usr/bin/wasm-ld-22".into(),
        };
        assert_eq!(next(&machine, &tried, Wish::Any), Step::Use(expected));
    }

    #[test]
    fn once_debian_was_used_rustup_is_not_asked_again() {
        let used = Machine {
            rustup: true,
            debian_was_used: true,
            ..debian_machine()
        };
        assert!(matches!(step(&used), Step::Use(Toolchain::Debian { .. })));
        assert_eq!(
            step(&Machine {
                target: true,
                active_was_used: true,
                ..used.clone()
            }),
            Step::Use(Toolchain::Active { source: false })
        );
        assert_eq!(
            step(&Machine {
                linker: None,
                ..used.clone()
            }),
            Step::AddTarget
        );
        assert_eq!(
            next(&used, &Tried::default(), Wish::Active),
            Step::AddTarget
        );
    }

    #[test]
    fn any_missing_part_of_debian_is_installed_once() {
        let complete = Machine {
            apt: true,
            ..debian_machine()
        };
        let incomplete = [
            Machine {
                rustc: None,
                ..complete.clone()
            },
            Machine {
                rustc: Some(Release(1, 63)),
                ..complete.clone()
            },
            Machine {
                cargo: false,
                ..complete.clone()
            },
            Machine {
                source: false,
                ..complete.clone()
            },
            Machine {
                linker: None,
                ..complete.clone()
            },
        ];
        for machine in incomplete {
            assert_eq!(step(&machine), Step::InstallPackages, "{machine:?}");
            let tried = Tried {
                rustup: true,
                apt: true,
                ..Tried::default()
            };
            assert_eq!(
                next(&machine, &tried, Wish::Any),
                Step::GiveUp,
                "{machine:?}"
            );
        }
    }

    #[test]
    fn without_rustup_and_apt_there_is_only_advice() {
        let machine = Machine {
            rustc: Some(Release(1, 63)),
            ..Machine::default()
        };
        assert_eq!(step(&machine), Step::GiveUp);
        let advice = advice(&machine);
        assert!(
            advice.contains("rustup target add wasm32-unknown-unknown"),
            "{advice}"
        );
        assert!(advice.contains("1.63, older than"), "{advice}");
        assert!(
            PACKAGES.iter().all(|package| advice.contains(package)),
            "{advice}"
        );
    }

    #[test]
    fn a_wish_excludes_the_other_way() {
        let machine = Machine {
            target: true,
            ..debian_machine()
        };
        let way = |wish| next(&machine, &Tried::default(), wish);
        assert_eq!(
            way(Wish::Active),
            Step::Use(Toolchain::Active { source: false })
        );
        assert!(matches!(
            way(Wish::Debian),
            Step::Use(Toolchain::Debian { .. })
        ));
        let machine = Machine {
            target: false,
            apt: true,
            ..debian_machine()
        };
        assert_eq!(
            next(&machine, &Tried::default(), Wish::Active),
            Step::GiveUp
        );
    }

    #[test]
    fn releases_compare_as_numbers() {
        assert_eq!(
            Release::parse("rustc 1.96.0 (ac68 2026-05-25)"),
            Some(Release(1, 96))
        );
        assert_eq!(Release::parse("1.95"), Some(Release(1, 95)));
        assert_eq!(Release::parse("rustc"), None);
        assert!(Release(1, 100) > Release(1, 95));
        assert!(Release::oldest() > Release(1, 0));
    }

    #[test]
    fn the_newest_linker_wins() {
        let newest = |names: &[&str]| newest_linker(names.iter().map(PathBuf::from));
        let linker = newest(&[
            "/b/wasm-ld",
            "/b/wasm-ld-9",
            "/b/wasm-ld-22",
            "/b/wasm-ldx-30",
        ]);
        assert_eq!(linker, Some("/b/wasm-ld-22".into()));
        assert_eq!(newest(&["/b/wasm-ld", "/b/ld"]), Some("/b/wasm-ld".into()));
        assert_eq!(newest(&["/b/ld"]), None);
    }

    #[test]
    fn debian_does_not_see_the_variables_of_another_toolchain() {
        let cleared = [
            "CARGO",
            "CARGO_MANIFEST_DIR",
            "RUSTUP_TOOLCHAIN",
            "RUSTFLAGS",
            "LD_LIBRARY_PATH",
        ];
        assert!(cleared.iter().all(|name| belongs_to_a_toolchain(name)));
        let kept = [
            "CARGO_HOME",
            "CARGO_NET_OFFLINE",
            "PATH",
            "HOME",
            "RUST_BACKTRACE",
        ];
        assert!(!kept.iter().any(|name| belongs_to_a_toolchain(name)));
    }
}
