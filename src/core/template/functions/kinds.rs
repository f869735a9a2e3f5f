//! What a value is, and what stands in its place where it is empty.

use gotmpl::Value;

use super::{Args, Outcome, bool, functions, is_empty, lists::same, string};

functions! {
    "deepCopy" 1..=1 |args| Ok(args.any(0).clone());
    "deepEqual" 2..=2 |args| bool(same(args, args.any(0), args.any(1))?);
    "default" 1..=many |args| Ok(args.values.get(1).filter(|value| !is_empty(value)).unwrap_or_else(|| args.any(0)).clone());
    "empty" 1..=1 |args| bool(is_empty(args.any(0)));
    "fail" 1..=1 |args| args.text(0).and_then(|_| Err("the template calls it".into()));
    "kindIs" 2..=2 |args| bool(args.text(0)? == kind_of(args.any(1)));
    "kindOf" 1..=1 |args| string(kind_of(args.any(0)));
    "mustDeepCopy" 1..=1 |args| Ok(args.any(0).clone());
    "ternary" 3..=3 ternary;
    "typeIs" 2..=2 |args| bool(args.text(0)? == type_of(args.any(1)));
    "typeIsLike" 2..=2 |args| bool(args.text(0)? == type_of(args.any(1)));
    "typeOf" 1..=1 |args| string(type_of(args.any(0)));
}

fn ternary(args: &Args) -> Outcome {
    Ok(args.any(usize::from(!args.bool(2)?)).clone())
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Nil => "invalid",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Uint(_) => "uint",
        Value::Float(_) => "float64",
        Value::String(_) => "string",
        Value::List(_) => "slice",
        Value::Map(_) => "map",
        Value::Function(_) => "func",
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Nil => "<nil>",
        Value::List(_) => "[]interface {}",
        Value::Map(_) => "map[string]interface {}",
        other => kind_of(other),
    }
}
