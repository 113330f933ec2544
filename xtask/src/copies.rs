//! Calls in place of the copies of structures in a core module.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow};
use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{
    CodeSection, Encode, Function, FunctionSection, Module, RawSection, TypeSection, ValType,
};
use wasmparser::{FunctionBody, Operator, Parser, Payload};

/// Copies of a length that occurs less often stay as they are: the function would
/// take more than the calls of it save.
const USES_MIN: usize = 6;

/// Replaces each copy of constant length by the call of a function that does it, which
/// takes half the bytes. Most copies are those of structures of a few lengths.
pub fn outline(module: &[u8]) -> Result<Vec<u8>> {
    let mut bodies = Vec::new();
    let mut uses: BTreeMap<i32, usize> = BTreeMap::new();
    let (mut imported, mut defined, mut types) = (0_u32, 0_u32, 0_u32);
    for payload in Parser::new(0).parse_all(module) {
        match payload.context("the module does not parse")? {
            Payload::TypeSection(section) => {
                for group in section {
                    types += u32::try_from(group?.types().len())?;
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    imported += u32::from(matches!(import?.ty, wasmparser::TypeRef::Func(_)));
                }
            }
            Payload::FunctionSection(section) => defined = section.count(),
            Payload::CodeSectionEntry(body) => {
                let copies = copies(&body)?;
                for copy in &copies {
                    *uses.entry(copy.length).or_default() += 1;
                }
                bodies.push((body, copies));
            }
            _ => {}
        }
    }
    uses.retain(|_, count| *count >= USES_MIN);
    let first = imported + defined;
    let functions: BTreeMap<i32, u32> = uses.into_keys().zip(first..).collect();
    let mut outlined = Module::new();
    for payload in Parser::new(0).parse_all(module) {
        match payload? {
            Payload::TypeSection(section) => {
                let mut new = TypeSection::new();
                RoundtripReencoder
                    .parse_type_section(&mut new, section)
                    .map_err(|error| anyhow!("{error}"))?;
                new.ty().function([ValType::I32; 2], []);
                outlined.section(&new);
            }
            Payload::FunctionSection(section) => {
                let mut new = FunctionSection::new();
                for ty in section {
                    new.function(ty?);
                }
                for _ in &functions {
                    new.function(types);
                }
                outlined.section(&new);
            }
            Payload::CodeSectionStart { .. } => {
                let mut new = CodeSection::new();
                for (body, copies) in &bodies {
                    new.raw(&rewritten(module, body, copies, &functions)?);
                }
                for length in functions.keys() {
                    new.function(&copy_of(*length));
                }
                outlined.section(&new);
            }
            Payload::CodeSectionEntry(_) => {}
            other => {
                if let Some((id, range)) = other.as_section() {
                    let data = slice(module, range.start, range.end)?;
                    outlined.section(&RawSection { id, data });
                }
            }
        }
    }
    Ok(outlined.finish())
}

/// `i32.const LENGTH` and `memory.copy`, where they stand in the module.
struct Copy {
    length: i32,
    start: u64,
    end: u64,
}

fn copies(body: &FunctionBody<'_>) -> Result<Vec<Copy>> {
    let mut copies = Vec::new();
    let mut constant = None;
    let mut reader = body.get_operators_reader()?;
    while !reader.eof() {
        let (operator, start) = reader.read_with_offset()?;
        let last = constant.take();
        match operator {
            Operator::I32Const { value } => constant = Some((value, start)),
            Operator::MemoryCopy { .. } => {
                let end = reader.original_position();
                copies.extend(last.map(|(length, start)| Copy { length, start, end }));
            }
            _ => {}
        }
    }
    Ok(copies)
}

/// The body with calls for those copies that have a function.
fn rewritten(
    module: &[u8],
    body: &FunctionBody<'_>,
    copies: &[Copy],
    functions: &BTreeMap<i32, u32>,
) -> Result<Vec<u8>> {
    const CALL: u8 = 0x10;
    let mut bytes = Vec::new();
    let mut at = body.range().start;
    for copy in copies {
        let Some(function) = functions.get(&copy.length) else {
            continue;
        };
        bytes.extend_from_slice(slice(module, at, copy.start)?);
        bytes.push(CALL);
        function.encode(&mut bytes);
        at = copy.end;
    }
    bytes.extend_from_slice(slice(module, at, body.range().end)?);
    Ok(bytes)
}

/// Copies so many bytes: to the first argument, from the second.
fn copy_of(length: i32) -> Function {
    let mut function = Function::new([]);
    function
        .instructions()
        .local_get(0)
        .local_get(1)
        .i32_const(length)
        .memory_copy(0, 0)
        .end();
    function
}

fn slice(module: &[u8], start: u64, end: u64) -> Result<&[u8]> {
    let range = usize::try_from(start)?..usize::try_from(end)?;
    module.get(range).context("a section ends too late")
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_encoder::{MemorySection, MemoryType};

    /// A function with so many copies of 12 bytes, and one of 16.
    fn example(count: usize) -> Vec<u8> {
        let mut types = TypeSection::new();
        types.ty().function([], []);
        let mut functions = FunctionSection::new();
        functions.function(0);
        let mut memories = MemorySection::new();
        memories.memory(MemoryType {
            minimum: 1,
            maximum: None,
            memory64: false,
            shared: false,
            page_size_log2: None,
        });
        let mut function = Function::new([]);
        let mut code = function.instructions();
        for _ in 0..count {
            code.i32_const(64).i32_const(32).i32_const(12);
            code.memory_copy(0, 0);
        }
        code.i32_const(64).i32_const(32).i32_const(16);
        code.memory_copy(0, 0).end();
        let mut codes = CodeSection::new();
        codes.function(&function);
        let mut module = Module::new();
        module
            .section(&types)
            .section(&functions)
            .section(&memories)
            .section(&codes);
        module.finish()
    }

    /// How many calls and copies there are, in the order of functions.
    fn counts(module: &[u8]) -> Vec<(usize, usize)> {
        wasmparser::validate(module).unwrap();
        let mut counts = Vec::new();
        for payload in Parser::new(0).parse_all(module) {
            if let Payload::CodeSectionEntry(body) = payload.unwrap() {
                let (mut calls, mut copies) = (0, 0);
                for operator in body.get_operators_reader().unwrap() {
                    match operator.unwrap() {
                        Operator::Call { function_index: 1 } => calls += 1,
                        Operator::MemoryCopy { .. } => copies += 1,
                        _ => {}
                    }
                }
                counts.push((calls, copies));
            }
        }
        counts
    }

    #[test]
    fn copies_of_one_length_become_calls() {
        let module = outline(&example(USES_MIN)).unwrap();
        assert_eq!(counts(&module), [(USES_MIN, 1), (0, 1)]);
    }

    #[test]
    fn few_copies_stay() {
        let module = outline(&example(USES_MIN - 1)).unwrap();
        assert_eq!(counts(&module), [(0, USES_MIN)]);
    }
}
