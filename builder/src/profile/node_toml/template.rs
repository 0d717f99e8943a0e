//! What a template uses of node.toml, in every branch: rendering one with an example goes through those alone that the
//! example takes, and `is defined` is silent about a name that nothing ever has.
//!
//! The template is read as `minijinja` reads it, and values are followed by their types: through loops, `set`, `with`,
//! subscripts and the filters that hand on what they get. What cannot be followed is not reported.

use super::path::explain;
use super::types::{Type, Unknown, Why};
use super::vars::undeclared;
use crate::profile::diagnostic::nearest;
use crate::profile::value::Mistake;
use contract::var::Var;
use minijinja::machinery::{ast, parse};
use std::collections::BTreeMap;
use std::ops::Range;

/// Names that every template has (`minijinja::functions`, and what a template can ask about itself).
const GLOBALS: [&str; 5] = ["debug", "dict", "namespace", "range", "self"];
/// Filters whose result is as their value.
const SAME: [&str; 9] = ["default", "d", "list", "reject", "reverse", "select", "sort", "unique", "rejectattr"];
/// Filters that go through entries by a key of each, which they are given by name or, the second kind, first.
const BY_KEY: [&str; 7] = ["groupby", "map", "max", "min", "sort", "sum", "unique"];
const BY_FIRST: [&str; 3] = ["groupby", "rejectattr", "selectattr"];

/// A use of something that no node.toml has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misuse {
    /// Bytes of the template.
    pub span: Range<usize>,
    pub message: String,
    pub help: Option<String>,
}

/// Everything in a template that no node.toml has; of variables, what `vars` does not declare. A template that cannot be read has none: rendering says what is
/// wrong with it.
#[must_use]
pub fn check(name: &str, source: &str, vars: &BTreeMap<String, Var>) -> Vec<Misuse> {
    let parsed = contract::template::syntax().and_then(|syntax| parse(source, name, syntax));
    let Ok(template) = parsed else { return Vec::new() };
    let mut walk = Walk { scopes: vec![BTreeMap::new()], found: Vec::new(), vars };
    walk.statement(&template);
    walk.found.sort_by_key(|misuse| misuse.span.start);
    walk.found.dedup();
    walk.found
}

/// What is known of a value.
#[derive(Clone, Debug)]
enum Known {
    Nothing,
    Of(Type<'static>),
    /// A list of such values.
    List(Box<Known>),
    /// A name, and what is under it.
    Pair(Box<Known>),
}

impl Known {
    /// One of two.
    fn or(self, other: Known) -> Known {
        match (self, other) {
            (Known::Of(one), Known::Of(other)) => Known::Of(one.or(&other)),
            (Known::List(one), Known::List(other)) => Known::List(Box::new(one.or(*other))),
            _ => Known::Nothing,
        }
    }

    /// What a loop over it goes through.
    fn element(&self) -> Known {
        match self {
            Known::Of(place) => place.element().map_or(Known::Nothing, Known::Of),
            Known::List(element) => (**element).clone(),
            Known::Nothing | Known::Pair(_) => Known::Nothing,
        }
    }
}

struct Walk<'t> {
    scopes: Vec<BTreeMap<&'t str, Known>>,
    found: Vec<Misuse>,
    /// What the profile declares.
    vars: &'t BTreeMap<String, Var>,
}

impl<'t> Walk<'t> {
    fn statement(&mut self, statement: &ast::Stmt<'t>) {
        match statement {
            ast::Stmt::Template(template) => self.body(&template.children),
            ast::Stmt::EmitExpr(emit) => drop(self.value(&emit.expr)),
            ast::Stmt::EmitRaw(_) => (),
            ast::Stmt::ForLoop(each) => self.each(each),
            // A branch has no scope of its own: what it sets stays.
            ast::Stmt::IfCond(condition) => {
                self.value(&condition.expr);
                self.body(&condition.true_body);
                self.body(&condition.false_body);
            }
            ast::Stmt::WithBlock(with) => self.scoped(|walk| {
                for (target, value) in &with.assignments {
                    let value = walk.value(value);
                    walk.assign(target, value);
                }
                walk.body(&with.body);
            }),
            ast::Stmt::Set(set) => {
                let value = self.value(&set.expr);
                self.assign(&set.target, value);
            }
            ast::Stmt::SetBlock(set) => {
                self.scoped(|walk| walk.body(&set.body));
                self.assign(&set.target, Known::Nothing);
            }
            ast::Stmt::AutoEscape(escape) => self.scoped(|walk| walk.body(&escape.body)),
            ast::Stmt::FilterBlock(filter) => self.scoped(|walk| walk.body(&filter.body)),
            ast::Stmt::Do(statement) => drop(self.call(&statement.call)),
        }
    }

    fn body(&mut self, statements: &[ast::Stmt<'t>]) {
        statements.iter().for_each(|statement| self.statement(statement));
    }

    fn scoped(&mut self, within: impl FnOnce(&mut Walk<'t>)) {
        self.scopes.push(BTreeMap::new());
        within(self);
        self.scopes.pop();
    }

    fn each(&mut self, each: &ast::ForLoop<'t>) {
        let element = self.value(&each.iter).element();
        self.scoped(|walk| {
            walk.assign(&each.target, element);
            walk.name("loop", Known::Nothing);
            if let Some(filter) = &each.filter_expr {
                walk.value(filter);
            }
            walk.body(&each.body);
        });
        self.scoped(|walk| walk.body(&each.else_body));
    }

    fn assign(&mut self, target: &ast::Expr<'t>, value: Known) {
        match target {
            ast::Expr::Var(name) => self.name(name.id, value),
            ast::Expr::Tuple(several) => self.assign_each(&several.items, &value),
            ast::Expr::List(several) => self.assign_each(&several.items, &value),
            // An attribute of a namespace.
            other => drop(self.value(other)),
        }
    }

    fn assign_each(&mut self, targets: &[ast::Expr<'t>], value: &Known) {
        for (number, target) in targets.iter().enumerate() {
            let part = match value {
                Known::Pair(second) if targets.len() == 2 && number == 1 => (**second).clone(),
                _ => Known::Nothing,
            };
            self.assign(target, part);
        }
    }

    /// Two branches may set one name to different things.
    fn name(&mut self, name: &'t str, value: Known) {
        let Some(scope) = self.scopes.last_mut() else { return };
        let value = match scope.remove(name) {
            Some(before) => before.or(value),
            None => value,
        };
        scope.insert(name, value);
    }

    fn value(&mut self, expression: &ast::Expr<'t>) -> Known {
        match expression {
            ast::Expr::Var(name) => self.variable(name.id, range(expression)),
            ast::Expr::Const(_) => Known::Nothing,
            ast::Expr::Slice(slice) => {
                [&slice.start, &slice.stop, &slice.step].into_iter().flatten().for_each(|at| drop(self.value(at)));
                self.value(&slice.expr)
            }
            ast::Expr::UnaryOp(operation) => {
                self.value(&operation.expr);
                Known::Nothing
            }
            ast::Expr::BinOp(operation) => {
                let (left, right) = (self.value(&operation.left), self.value(&operation.right));
                match operation.op {
                    ast::BinOpKind::ScAnd | ast::BinOpKind::ScOr => left.or(right),
                    _ => Known::Nothing,
                }
            }
            ast::Expr::Compare(compare) => {
                self.value(&compare.expr);
                compare.ops.iter().for_each(|with| drop(self.value(&with.expr)));
                Known::Nothing
            }
            ast::Expr::IfExpr(choice) => {
                self.value(&choice.test_expr);
                let one = self.value(&choice.true_expr);
                match &choice.false_expr {
                    Some(other) => one.or(self.value(other)),
                    None => one,
                }
            }
            ast::Expr::Filter(filter) => self.filter(filter, range(expression)),
            ast::Expr::Test(test) => {
                self.value(&test.expr);
                self.arguments(&test.args);
                Known::Nothing
            }
            ast::Expr::GetAttr(get) => {
                let of = self.value(&get.expr);
                self.key(&of, get.name, range(expression))
            }
            ast::Expr::GetItem(get) => self.item(get, range(expression)),
            ast::Expr::Call(call) => self.call(call),
            ast::Expr::List(list) => self.all(&list.items),
            ast::Expr::Tuple(list) => self.all(&list.items),
            ast::Expr::Map(map) => {
                self.all(&map.keys);
                self.all(&map.values);
                Known::Nothing
            }
        }
    }

    fn all(&mut self, expressions: &[ast::Expr<'t>]) -> Known {
        expressions.iter().for_each(|expression| drop(self.value(expression)));
        Known::Nothing
    }

    fn variable(&mut self, name: &str, span: Range<usize>) -> Known {
        if let Some(known) = self.scopes.iter().rev().find_map(|scope| scope.get(name)) {
            return known.clone();
        }
        if GLOBALS.contains(&name) {
            return Known::Nothing;
        }
        match Type::node_toml().key(name) {
            Ok(found) => Known::Of(found),
            Err(unknown) => {
                let set = self.scopes.iter().flat_map(|scope| scope.keys().copied());
                let near = nearest(name, set).map(|near| format!("did you mean `{near}`?"));
                let (message, help) = explain(&unknown);
                self.wrong(span, message, near.or(help));
                Known::Nothing
            }
        }
    }

    /// What is below a key.
    fn key(&mut self, of: &Known, key: &str, span: Range<usize>) -> Known {
        let Known::Of(place) = of else { return Known::Nothing };
        if let Some((message, help)) = undeclared(self.vars, &place.path, key) {
            self.wrong(span, message, help);
            return Known::Nothing;
        }
        match place.key(key) {
            Ok(found) => Known::Of(found),
            Err(unknown) => {
                let (message, help) = within(&unknown);
                self.wrong(span, message, help);
                Known::Nothing
            }
        }
    }

    fn item(&mut self, get: &ast::GetItem<'t>, span: Range<usize>) -> Known {
        let of = self.value(&get.expr);
        if let ast::Expr::Const(subscript) = &get.subscript_expr {
            return match subscript.value.as_str() {
                Some(key) => self.key(&of, key, span),
                None => of.element(),
            };
        }
        self.value(&get.subscript_expr);
        match &of {
            Known::Of(place) => place.element().or_else(|| place.values()).map_or(Known::Nothing, Known::Of),
            other => other.element(),
        }
    }

    fn call(&mut self, call: &ast::Call<'t>) -> Known {
        match &call.expr {
            // A method: its name is not a key.
            ast::Expr::GetAttr(method) => drop(self.value(&method.expr)),
            function => drop(self.value(function)),
        }
        self.arguments(&call.args);
        Known::Nothing
    }

    fn arguments(&mut self, arguments: &[ast::CallArg<'t>]) {
        for argument in arguments {
            let (ast::CallArg::Pos(value)
            | ast::CallArg::Kwarg(_, value)
            | ast::CallArg::PosSplat(value)
            | ast::CallArg::KwargSplat(value)) = argument;
            self.value(value);
        }
    }

    fn filter(&mut self, filter: &ast::Filter<'t>, span: Range<usize>) -> Known {
        // Without a value it is a block's, which is text.
        let value = filter.expr.as_ref().map_or(Known::Nothing, |value| self.value(value));
        self.arguments(&filter.args);
        let by_key = filter.args.iter().enumerate().find_map(|(number, argument)| {
            let key = match argument {
                ast::CallArg::Kwarg("attribute", key) if BY_KEY.contains(&filter.name) => key,
                ast::CallArg::Pos(key) if number == 0 && BY_FIRST.contains(&filter.name) => key,
                _ => return None,
            };
            let ast::Expr::Const(key) = key else { return None };
            Some(key.value.as_str()?.to_owned())
        });
        let of_each =
            by_key.map(|path| path.split('.').fold(value.element(), |of, key| self.key(&of, key, span.clone())));
        match filter.name {
            "items" | "dictsort" => match &value {
                Known::Of(place) => {
                    let below = place.values().map_or(Known::Nothing, Known::Of);
                    Known::List(Box::new(Known::Pair(Box::new(below))))
                }
                _ => Known::Nothing,
            },
            "map" => of_each.map_or(Known::Nothing, |each| Known::List(Box::new(each))),
            "first" | "last" => value.element(),
            "attr" => match filter.args.first() {
                Some(ast::CallArg::Pos(ast::Expr::Const(key))) => match key.value.as_str() {
                    Some(key) => self.key(&value, key, span),
                    None => Known::Nothing,
                },
                _ => Known::Nothing,
            },
            "selectattr" => value,
            same if SAME.contains(&same) => value,
            _ => Known::Nothing,
        }
    }

    fn wrong(&mut self, span: Range<usize>, message: String, help: Option<String>) {
        self.found.push(Misuse { span, message, help });
    }
}

/// The bytes of an expression. Its own span begins with its last operator.
fn range(expression: &ast::Expr<'_>) -> Range<usize> {
    let span = expression.span();
    let mut start = span.start_offset;
    let mut first = Some(expression);
    while let Some(expression) = first {
        start = start.min(expression.span().start_offset);
        first = match expression {
            ast::Expr::GetAttr(get) => Some(&get.expr),
            ast::Expr::GetItem(get) => Some(&get.expr),
            ast::Expr::Call(call) => Some(&call.expr),
            ast::Expr::Filter(filter) => filter.expr.as_ref(),
            _ => None,
        };
    }
    start as usize..span.end_offset as usize
}

/// The words for a key that is not there, for whoever writes a template.
fn within(unknown: &Unknown) -> Mistake {
    let (message, help) = explain(unknown);
    match unknown.why {
        Why::List => (message, Some(format!("`{0}` is a list: go through it with `for ... in {0}`", unknown.at))),
        _ => (message, help),
    }
}

#[cfg(test)]
mod tests;
