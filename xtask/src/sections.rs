//! Custom sections: what tools leave behind is removed, and a few facts added.

use std::collections::BTreeMap;
use std::mem;

use anyhow::{Context, Result};
use wasm_encoder::{
    Component, ComponentNameSection, ComponentSectionId, CustomSection, Encode, ProducersField,
    ProducersSection, RawSection, Section,
};
use wasmparser::{BinaryReader, Encoding, Parser, Payload, ProducersSectionReader};

use crate::artifacts::Artifact;

/// What the component says about itself.
const VERSION: &str = env!("CARGO_PKG_VERSION");
const LICENSES: &str = env!("CARGO_PKG_LICENSE");

/// Tools by kind (such as `processed-by`) and name, with their versions.
type Producers = BTreeMap<String, BTreeMap<String, String>>;

/// Removes the custom sections of a component and of everything in it, then says
/// once, at the end, what it is and which tools made it.
pub fn tidy(component: &[u8], artifact: &Artifact) -> Result<Vec<u8>> {
    let (mut bytes, producers) = strip(component)?;

    let mut name = ComponentNameSection::new();
    name.component(artifact.name);
    name.as_custom().append_to(&mut bytes);
    let facts = [
        ("description", artifact.description),
        ("licenses", LICENSES),
        ("version", VERSION),
    ];
    for (section, text) in facts {
        let section = CustomSection {
            name: section.into(),
            data: text.as_bytes().into(),
        };
        section.append_to(&mut bytes);
    }
    let mut section = ProducersSection::new();
    for (kind, tools) in &producers {
        let mut field = ProducersField::new();
        for (tool, version) in tools {
            field.value(tool, version);
        }
        section.field(kind, &field);
    }
    section.append_to(&mut bytes);
    Ok(bytes)
}

/// Removes all custom sections, and collects what the producers sections said.
fn strip(component: &[u8]) -> Result<(Vec<u8>, Producers)> {
    let mut producers = Producers::new();
    // The modules and components around the current position, outermost first.
    let mut around: Vec<Vec<u8>> = Vec::new();
    let mut output = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload.context("the component does not parse")?;
        match &payload {
            Payload::Version { encoding, .. } => output.extend_from_slice(header(*encoding)),
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                around.push(mem::take(&mut output));
            }
            Payload::End(_) => {
                let Some(mut parent) = around.pop() else {
                    break;
                };
                parent.push(if output.starts_with(header(Encoding::Component)) {
                    ComponentSectionId::Component as u8
                } else {
                    ComponentSectionId::CoreModule as u8
                });
                output.encode(&mut parent);
                output = parent;
            }
            Payload::CustomSection(custom) => {
                if custom.name() == "producers" {
                    collect(custom.data(), &mut producers)?;
                }
            }
            other => {
                if let Some((id, range)) = other.as_section() {
                    let start = usize::try_from(range.start)?;
                    let end = usize::try_from(range.end)?;
                    let data = component
                        .get(start..end)
                        .context("a section ends too late")?;
                    RawSection { id, data }.append_to(&mut output);
                }
            }
        }
    }
    Ok((output, producers))
}

fn header(encoding: Encoding) -> &'static [u8] {
    match encoding {
        Encoding::Component => &Component::HEADER,
        Encoding::Module => &wasm_encoder::Module::HEADER,
    }
}

fn collect(data: &[u8], producers: &mut Producers) -> Result<()> {
    let reader = ProducersSectionReader::new(BinaryReader::new(data, 0))?;
    for field in reader {
        let field = field?;
        for value in field.values {
            let value = value?;
            let tools = producers.entry(field.name.to_owned()).or_default();
            tools.insert(value.name.to_owned(), value.version.to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifacts::ARTIFACTS;
    use wasm_encoder::{Module, ModuleSection};

    /// A component that holds a module, both with custom sections.
    fn example() -> Vec<u8> {
        let mut module = Module::new();
        module.section(&CustomSection {
            name: "name".into(),
            data: (&[][..]).into(),
        });
        let mut producers = ProducersSection::new();
        producers.field("language", ProducersField::new().value("Rust", "2024"));
        module.section(&producers);
        let mut component = Component::new();
        component.section(&CustomSection {
            name: "note".into(),
            data: b"gone"[..].into(),
        });
        component.section(&ModuleSection(&module));
        component.finish()
    }

    fn custom_sections(bytes: &[u8]) -> Vec<String> {
        let payloads = Parser::new(0).parse_all(bytes).map(Result::unwrap);
        payloads
            .filter_map(|payload| match payload {
                Payload::CustomSection(custom) => Some(custom.name().to_owned()),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn inner_sections_go_and_the_facts_come_once() {
        let tidied = tidy(&example(), &ARTIFACTS[0]).unwrap();
        wasmparser::validate(&tidied).unwrap();
        assert_eq!(
            custom_sections(&tidied),
            [
                "component-name",
                "description",
                "licenses",
                "version",
                "producers"
            ]
        );
    }

    #[test]
    fn tidying_twice_changes_nothing() {
        let once = tidy(&example(), &ARTIFACTS[0]).unwrap();
        assert_eq!(tidy(&once, &ARTIFACTS[0]).unwrap(), once);
    }

    #[test]
    fn what_the_inner_tools_said_is_kept() {
        let (_, producers) = strip(&example()).unwrap();
        assert_eq!(producers["language"]["Rust"], "2024");
    }
}
