//! What keeps an expression from running for long: fuel, which every iteration and every value that is looked at as a
//! whole takes from.
//!
//! The interpreter has no limit of its own. So an expression is rewritten when it is compiled: calls of `@tick`, a name
//! that no text can spell, stand around what may cost. A tick without fuel fails; that it was empty is asked afterwards,
//! because `||` forgives errors.

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue};
use cel::common::types::{CelBool, CelInt, CelList, CelMap, CelString, DYN_TYPE, INT_TYPE, STRING_TYPE, Type};
use cel::common::value::{CowVal, StaticVal, Val};
use cel::{Env, ExecutionError};
use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

/// The function that takes fuel: `@tick(@fuel, cost, value)` is `value`.
const TICK: &str = "@tick";
/// The variable that holds the fuel.
pub(super) const FUEL: &str = "@fuel";
/// Making a regular expression ready costs this.
pub(super) const PATTERN_COST: u64 = 2_000;
/// Memory of one regular expression, in bytes; one that needs more is an error.
const PATTERN_BYTES_MAX: usize = 256 << 10;
/// So many bytes of text count as one value.
const TEXT_UNIT: usize = 64;

static FUEL_TYPE: Type = Type::new_unspecified_type("fuel");

/// What is left to spend. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Fuel(Arc<AtomicU64>);

impl Fuel {
    pub fn new(units: u64) -> Self {
        Self(Arc::new(AtomicU64::new(units)))
    }

    pub fn left(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// True if there was enough; if not, nothing is left.
    fn spend(&self, units: u64) -> bool {
        let left = self.left();
        self.0.store(left.saturating_sub(units), Ordering::Relaxed);
        left > units
    }
}

impl Val for Fuel {
    fn get_type(&self) -> &Type {
        &FUEL_TYPE
    }
    fn cel_type() -> &'static Type {
        &FUEL_TYPE
    }
    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }
    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}
impl StaticVal for Fuel {}

/// CEL as policies have it.
pub(super) static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    env.add_overload(TICK, "tick", vec![FUEL_TYPE.to_owned(), INT_TYPE, DYN_TYPE], tick).expect("the name is new");
    let text = vec![STRING_TYPE];
    env.add_member_overload("matches", "matches_member", STRING_TYPE, text, matches).expect("the name is new");
    let texts = vec![STRING_TYPE, STRING_TYPE];
    env.add_overload("matches", "matches_global", texts, matches).expect("the name is new");
    Arc::new(env)
});

fn tick<'b, 'v>(mut args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let empty = || ExecutionError::function_error(TICK, "it runs too long");
    let value = args.pop().ok_or_else(empty)?;
    let cost = args.get(1).and_then(|cost| cost.downcast_ref::<CelInt>()).map_or(1, |cost| *cost.inner());
    let fuel = args.first().and_then(|fuel| fuel.downcast_ref::<Fuel>()).ok_or_else(empty)?;
    let mut units = u64::try_from(cost).unwrap_or(1);
    weigh(value.as_ref(), fuel.left(), &mut units);
    if fuel.spend(units) { Ok(value) } else { Err(empty()) }
}

/// Adds the size of a value, as far as there is fuel for it.
fn weigh(value: &dyn Val, limit: u64, units: &mut u64) {
    *units += 1;
    if *units > limit {
        return;
    }
    if let Some(text) = value.downcast_ref::<CelString<'_>>() {
        *units += (text.inner().len() / TEXT_UNIT) as u64;
    } else if let Some(list) = value.downcast_ref::<CelList<'_>>() {
        for item in list.inner() {
            weigh(item.as_ref(), limit, units);
        }
    } else if let Some(map) = value.downcast_ref::<CelMap<'_>>() {
        for item in map.inner().values() {
            weigh(item.as_ref(), limit, units);
        }
    }
}

/// As the standard library has it, in bounded memory.
fn matches<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let text = |index: usize| {
        let text = args.get(index).and_then(|arg| arg.downcast_ref::<CelString<'_>>());
        text.map(|text| text.inner().to_owned()).ok_or_else(|| ExecutionError::function_error("matches", "takes texts"))
    };
    let (text, pattern) = (text(0)?, text(1)?);
    let mut builder = regex::RegexBuilder::new(&pattern);
    let built = builder.size_limit(PATTERN_BYTES_MAX).dfa_size_limit(PATTERN_BYTES_MAX).build();
    let pattern = built.map_err(|error| ExecutionError::function_error("matches", error))?;
    Ok(CowVal::owned(CelBool::from(pattern.is_match(&text))))
}

/// Puts a tick around an expression.
pub(super) fn metered(expr: &mut IdedExpr, cost: u64) {
    let plain = match &expr.expr {
        Expr::Literal(_) => true,
        Expr::Ident(name) => name.starts_with('@'),
        _ => false,
    };
    if plain && cost <= 1 {
        return;
    }
    let id = expr.id;
    let inner = std::mem::take(expr);
    let ided = |expr| IdedExpr { id, expr };
    let cost = i64::try_from(cost).unwrap_or(i64::MAX);
    let args =
        vec![ided(Expr::Ident(FUEL.to_owned())), ided(Expr::Literal(LiteralValue::Int(CelInt::from(cost)))), inner];
    *expr = ided(Expr::Call(CallExpr { func_name: TICK.to_owned(), target: None, args }));
}
