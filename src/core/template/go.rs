//! Go's templates, by `gotmpl`.
//!
//! Between parsing and rendering the template's tree is changed: each list of actions begins with a step that is
//! counted, so that templates that call each other and print nothing end too; and what changes a dictionary in a
//! variable assigns to it, as dictionaries of this engine do not change.

use std::{collections::BTreeSet, fmt, sync::Arc};

use gotmpl::{
    FuncMap, MissingKey, Template, TemplateError, Value, ValueFunc,
    parse::{ActionNode, CommandNode, Expr, ListNode, Node, Number, PipeNode, Pos, SmolStr},
};

use super::{
    MAX_BYTES, Values, bytes,
    functions::{self, Failure},
    unknown,
    work::Work,
};

/// Rounds of all `range` of one template together.
const MAX_ROUNDS: u64 = 10_000;
/// A template's own name, such as no user gives to a `define` in it.
const NAME: &str = "\u{1}";
/// Ends every template: the engine drops without an error what follows an `end` or `else` that ends nothing.
const END: char = '\u{3}';
/// Marks errors of our own functions: their texts hold no value.
const OURS: &str = "\u{2}";
/// The function that counts, which no template can name.
const STEP: SmolStr = SmolStr::new_static("\u{1}step");

/// The function that fails with a text of the template itself, which no template can name.
const SAY: SmolStr = SmolStr::new_static("\u{1}say");

/// Renders a template; the error is a text that holds no value.
pub(super) fn render(template: &str, values: &Values, work: &Arc<Work>) -> Result<String, String> {
    let fail = |error: &TemplateError| explain(error, values);
    let parsed = match Template::new(NAME).parse(&format!("{template}{END}")) {
        Ok(parsed) => parsed,
        Err(marked) => {
            // Without our own mark, so that the error does not speak of it.
            return Err(fail(&Template::new(NAME).parse(template).err().unwrap_or(marked)));
        }
    };
    let mut trees: Vec<(String, ListNode)> = parsed
        .templates()
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), parsed.lookup(name)?.clone())))
        .collect();
    let whole = trees.iter_mut().find(|(name, _)| name == NAME).is_some_and(|(_, tree)| cut_mark(tree));
    if !whole {
        return Err("an {{ end }} or {{ else }} is without its {{ if }}".to_owned());
    }
    let mut names = BTreeSet::new();
    for (_, tree) in &mut trees {
        counted(tree, &mut names);
    }
    let functions = calls(&names, work)?;
    let ready = Template::new(NAME).missing_key(MissingKey::Error).max_range_iters(MAX_ROUNDS).funcs(functions);
    let ready = ready.parse("").map_err(|error| fail(&error))?;
    let ready = trees.into_iter().fold(ready, |ready, (name, tree)| ready.add_parse_tree(&name, tree));
    let mut output = Bounded::default();
    let data = Value::Map(values.map.clone());
    ready.execute_template_fmt(&mut output, NAME, &data).map_err(|error| fail(&error))?;
    Ok(output.text)
}

/// Removes the mark at the end of a template's text; false where it is not there.
fn cut_mark(tree: &mut ListNode) -> bool {
    let Some(Node::Text(last)) = tree.nodes.last_mut() else { return false };
    let Some(text) = last.text.strip_suffix(END) else { return false };
    last.text = text.into();
    true
}

/// A text that refuses to grow beyond what a Secret can hold.
#[derive(Default)]
struct Bounded {
    text: String,
    bytes: usize,
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes += bytes::length(text);
        if self.bytes > MAX_BYTES {
            return Err(fmt::Error);
        }
        self.text.push_str(text);
        Ok(())
    }
}

/// The functions that a template names.
fn calls(names: &BTreeSet<SmolStr>, work: &Arc<Work>) -> Result<FuncMap, String> {
    let mut found = FuncMap::new();
    let failed = |failure: Failure| TemplateError::Exec(format!("{OURS}{failure}"));
    let say: ValueFunc = Arc::new(|args| {
        let text = args.first().and_then(Value::as_str).unwrap_or_default();
        Err(TemplateError::Exec(format!("{OURS}{text}")))
    });
    found.insert(SAY.to_string(), say);
    for name in names.iter().filter(|name| **name != SAY) {
        let function = functions::find(name).ok_or_else(|| unknown(name, &[]))?;
        let work = work.clone();
        let call: ValueFunc = Arc::new(move |args| function.call(args, &work).map_err(failed));
        found.insert(name.to_string(), call);
    }
    let work = work.clone();
    let step: ValueFunc = Arc::new(move |args| {
        let count = args.first().and_then(Value::as_int).and_then(|count| usize::try_from(count).ok());
        work.step(count.unwrap_or(1)).map_err(failed).map(|()| Value::String("".into()))
    });
    found.insert(STEP.to_string(), step);
    Ok(found)
}

/// Lets a list of actions begin with the count of its steps, and collects the functions that are named in it.
fn counted(list: &mut ListNode, names: &mut BTreeSet<SmolStr>) {
    let mut steps = 1;
    for node in &mut list.nodes {
        steps += 1;
        match node {
            Node::Action(action) => pipe(&mut action.pipe, names, &mut steps),
            Node::If(branch) | Node::Range(branch) | Node::With(branch) => {
                pipe(&mut branch.pipe, names, &mut steps);
                counted(&mut branch.body, names);
                if let Some(other) = &mut branch.else_body {
                    counted(other, names);
                }
            }
            Node::Template(call) => {
                if let Some(argument) = &mut call.pipe {
                    pipe(argument, names, &mut steps);
                }
            }
            Node::List(inner) => counted(inner, names),
            Node::Define(define) => counted(&mut define.body, names),
            Node::Text(_) | Node::Break(_) | Node::Continue(_) => {}
        }
    }
    let pos = list.pos;
    let args = vec![Expr::Identifier(pos, STEP), Expr::Number(pos, Number::Int(steps))];
    let commands = vec![CommandNode { pos, args }];
    let step = PipeNode { pos, decl: vec![], commands, is_assign: false };
    list.nodes.insert(0, Node::Action(ActionNode { pos, pipe: step }));
}

fn pipe(pipe: &mut PipeNode, names: &mut BTreeSet<SmolStr>, steps: &mut i64) {
    let mut commands = vec![];
    for mut command in std::mem::take(&mut pipe.commands) {
        *steps += 1;
        if let [Expr::Identifier(_, name), Expr::String(..)] = command.args.as_mut_slice()
            && name.as_str() == "fail"
        {
            // What is written in the template is no value, and can be said.
            *name = SAY;
        }
        for argument in &mut command.args {
            expression(argument, names, steps);
        }
        let variable = changed(&command);
        commands.push(command);
        if let Some((pos, variable)) = variable {
            // `set $x "a" 1` becomes `($x = set $x "a" 1)`, with what is piped into it.
            let assigned =
                PipeNode { pos, decl: vec![variable], commands: std::mem::take(&mut commands), is_assign: true };
            commands = vec![CommandNode { pos, args: vec![Expr::Pipe(pos, assigned)] }];
        }
    }
    pipe.commands = commands;
}

/// The variable whose dictionary a command changes.
fn changed(command: &CommandNode) -> Option<(Pos, SmolStr)> {
    match command.args.as_slice() {
        [Expr::Identifier(pos, name), Expr::Variable(_, variable, fields), ..]
            if functions::CHANGING.contains(&name.as_str()) && fields.is_empty() && variable.as_str() != "$" =>
        {
            Some((*pos, variable.clone()))
        }
        _ => None,
    }
}

fn expression(expression: &mut Expr, names: &mut BTreeSet<SmolStr>, steps: &mut i64) {
    *steps += 1;
    match expression {
        Expr::Identifier(_, name) => {
            names.insert(name.clone());
        }
        Expr::Pipe(_, inner) => pipe(inner, names, steps),
        Expr::Chain(_, inner, _) => self::expression(inner, names, steps),
        _ => {}
    }
}

/// An error in words that hold no value.
fn explain(error: &TemplateError, values: &Values) -> String {
    match error {
        TemplateError::Parse { line, col, message, .. } | TemplateError::Lex { line, col, message, .. } => {
            format!("line {line}, column {col}: {message}")
        }
        TemplateError::UndefinedFunction(name) => unknown(name, &[]),
        TemplateError::MissingKey { key } => values.missing(key),
        TemplateError::Exec(text) => match text.strip_prefix(OURS) {
            Some(ours) => ours.to_owned(),
            None => without_values(text).to_owned(),
        },
        TemplateError::IndexOutOfRange { .. } => "an index is out of range".to_owned(),
        TemplateError::Write => format!("the result is larger than {MAX_BYTES} bytes, which no Secret can hold"),
        TemplateError::RecursionLimit => "templates call each other without end".to_owned(),
        TemplateError::RangeIterLimit => format!("range goes on for more than {MAX_ROUNDS} rounds"),
        TemplateError::FuncPanic { name, .. } => format!("function {name:?} fails"),
        TemplateError::TypeMismatch { .. }
        | TemplateError::UndefinedTemplate(_)
        | TemplateError::UndefinedVariable(_)
        | TemplateError::NotIterable(_) => error.to_string(),
        _ => "the template fails".to_owned(),
    }
}

/// An error text of the template engine up to where it may quote a value.
fn without_values(text: &str) -> &str {
    let end = [" got ", "length of ", "can't use ", "out of range"].iter().filter_map(|word| text.find(word)).min();
    end.map_or(text, |end| text[..end].trim_end_matches([' ', ',', ':']))
}
