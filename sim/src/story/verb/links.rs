//! Faults of links.

use super::Done;
use crate::world::{MONITOR, World};
use pgbaton_core::scenario::Verb;

pub(super) async fn perform(world: &World, verb: &Verb, names: &[String]) -> Done {
    let net = &world.net;
    match (verb, names) {
        (Verb::Cut(_), [a, b]) => net.cut(a, b),
        (Verb::CutOneWay(_), [from, to]) => net.cut_one_way(from, to),
        // Answers go from the second to the first.
        (Verb::HalfOpen(_), [from, to]) => net.mute(to, from),
        (Verb::Isolate(_), [node]) => world.isolate(node),
        (Verb::Slow(slow), [a, b]) => net.slow(a, b, slow.by),
        (Verb::Lose(lossy), [a, b]) => net.lose(a, b, lossy.rate),
        (Verb::Reorder(late), [a, b]) => net.reorder(a, b, late.by),
        (Verb::Repeat(lossy), [a, b]) => net.repeat(a, b, lossy.rate),
        (Verb::Swizzle(_), []) => swizzle(world).await,
        (Verb::SpeakVersion(to), [node]) => net.speak_version(node, to.version),
        (Verb::Heal(_), []) => net.heal_all(),
        _ => return Ok(false),
    }
    Ok(true)
}

/// Links between machines of the group, drawn, go one by one and come back in an order of their own.
async fn swizzle(world: &World) {
    let machines: Vec<&str> = world.nodes.iter().map(|n| n.name.as_str()).chain([MONITOR]).collect();
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    for (i, a) in machines.iter().enumerate() {
        pairs.extend(machines[i + 1..].iter().map(|b| (*a, *b)));
    }
    let draw = |from: &mut Vec<_>| from.swap_remove(world.fate.below(from.len() as u64) as usize);
    let count = 1 + world.fate.below(pairs.len() as u64);
    let mut cut = Vec::new();
    for _ in 0..count {
        let (a, b) = draw(&mut pairs);
        world.net.cut(a, b);
        cut.push((a, b));
        world.fate.sleep(world.fate.draw_ms(50..800)).await;
    }
    while !cut.is_empty() {
        let (a, b) = draw(&mut cut);
        world.net.mend(a, b);
        world.fate.sleep(world.fate.draw_ms(50..800)).await;
    }
}
