//! Items in an order in which each rests on earlier ones only.

use std::collections::HashMap;

use super::item::{Item, Sort};

/// The items, stage by stage: those of one stage rest on none of the same or a later one. What
/// rests on itself is in the last stage, and fails there.
pub(super) fn stages(items: Vec<Item>) -> Vec<Vec<Item>> {
    let mut at: HashMap<String, usize> = HashMap::new();
    for (number, item) in items.iter().enumerate() {
        at.extend(item.chardevs.iter().map(|part| (part.id.clone(), number)));
        if item.sort == Sort::Device {
            at.entry(item.name.clone()).or_insert(number);
        }
    }
    let bases = |item: &Item| -> Vec<usize> {
        let bases = item.bases().into_iter();
        bases.filter_map(|id| at.get(&id).copied()).collect()
    };
    let bases: Vec<Vec<usize>> = items.iter().map(bases).collect();
    let mut stage: Vec<usize> = vec![0; items.len()];
    // A chain is no longer than there are items that rest on others.
    for _ in 0..bases.iter().filter(|bases| !bases.is_empty()).count() {
        for (number, bases) in bases.iter().enumerate() {
            let lowest = bases.iter().map(|base| stage[*base] + 1).max();
            stage[number] = lowest.unwrap_or(0).min(items.len());
        }
    }
    let mut numbers = stage.clone();
    numbers.sort_unstable();
    numbers.dedup();
    let mut stages: Vec<Vec<Item>> = numbers.iter().map(|_| Vec::new()).collect();
    for (item, stage) in items.into_iter().zip(stage) {
        let at = numbers.binary_search(&stage).unwrap_or_default();
        stages[at].push(item);
    }
    stages
}
