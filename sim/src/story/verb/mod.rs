//! Carries out what a step says: a chapter for machines, one for links, one for Postgres. Orders go to the monitor.

mod links;
mod machines;
mod postgres;

pub(super) use machines::services_have_stopped;

use super::observer::ask;
use crate::ports::SimLink;
use crate::world::{CLIENTS, MONITOR, World};
use futures_util::future::join_all;
use pgbaton_core::check::{Kind, orders};
use pgbaton_core::model::GroupKey;
use pgbaton_core::ports::LinkError;
use pgbaton_core::scenario::{Order, Selector, Verb, order};
use pgbaton_core::wire::{Answer, Request};
use std::time::Duration;

const ASK_LIMIT: Duration = Duration::from_secs(10);
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What a chapter says of a verb: done, or not its own.
type Done = Result<bool, String>;

/// `names` are the nodes the verb is about; `name` gives the node a selector means at this moment.
pub async fn perform(
    world: &World,
    group: &GroupKey,
    verb: &Verb,
    names: &[String],
    name: impl Fn(&Selector) -> Result<String, String>,
) -> Result<(), String> {
    if let Verb::AtOnce(orders) = verb {
        let orders: Vec<Order> = orders.iter().filter_map(|verb| verb.order(group, &name)).collect::<Result<_, _>>()?;
        return join_all(orders.iter().map(|order| give(world, order))).await.into_iter().collect();
    }
    if let Some(order) = verb.order(group, name) {
        return give(world, &order?).await;
    }
    let done = machines::perform(world, verb, names).await?
        || links::perform(world, verb, names).await?
        || postgres::perform(world, verb, names).await?;
    done.then_some(()).ok_or_else(|| "the simulated world has no hand for it".to_string())
}

/// An operator whose order was not taken, for the monitor is down or can't do it at the moment, asks again.
async fn give(world: &World, given: &Order) -> Result<(), String> {
    let request = Request::Command(given.command.clone());
    let end = world.fate.now() + ASK_LIMIT;
    loop {
        let answer = ask_as_operator(world, &request).await;
        if !order::is_to_be_repeated(&answer) || world.fate.now() >= end {
            return given.judge(answer.map_err(|e| e.to_string())?);
        }
        world.fate.sleep(ASK_AGAIN).await;
    }
}

/// As a command on the clients' machine does.
pub(super) async fn ask_as_operator(world: &World, request: &Request) -> Result<Answer, LinkError> {
    let link = SimLink::new(&world.net, CLIENTS, MONITOR);
    let order = orders::describe(request);
    world.chronicle.note(Kind::Asked { order: order.clone() });
    let answer = ask(&link, request, ASK_LIMIT).await;
    world.chronicle.note(Kind::Told { order, answer: orders::answered(&answer) });
    answer
}
