//! Buckets are ordered once, by the first backward pass.

use defusion_parallel::{Entry, Operation};

use crate::harness::two_ranks;
use crate::networks::{Net, TINY, batch, step};

#[test]
fn buckets_are_ordered_once_as_gradients_become_ready() {
    two_ranks("order::buckets_are_ordered_once_as_gradients_become_ready", |comm| {
        let net = Net::new(7);
        let mut dp = net.parallel("net", &comm, TINY);
        let mut orders = Vec::new();
        for k in 0..3 {
            let before = comm.flight_record().entries().len();
            step(&mut dp, &net, &comm, &batch(k, 8));
            let entries = comm.flight_record().entries().split_off(before);
            let bytes = |e: &Entry| e.name.starts_with("net bucket ").then_some(e.bytes);
            orders.push(
                entries.iter().filter(|e| e.operation == Operation::AllReduce).filter_map(bytes).collect::<Vec<_>>(),
            );
        }
        assert_eq!(orders[0], orders[1]);
        assert_eq!(orders[1], orders[2]);
        let agreed = comm.flight_record().entries().iter().filter(|e| e.name == "net bucket order").count();
        assert_eq!(agreed, 1, "the order is agreed on once");
        // Parameters are given by name: first, head, norm, second. Their gradients come from the last layer to the
        // first.
        let padded = |elements: usize| 4 * elements.next_multiple_of(16);
        let last = *orders[0].last().unwrap();
        assert!([padded(4), padded(4 * 8)].contains(&orders[0][0]), "the last layer's comes first: {orders:?}");
        assert!([64 + padded(8), 64 + padded(8 * 3 * 9)].contains(&last), "the first layer's comes last: {orders:?}");
    });
}
