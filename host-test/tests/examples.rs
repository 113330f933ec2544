//! Goal: the examples do what their READMEs say.
//!
//! Method: the composed application runs in the harness like any other component,
//! on the store in this process, in virtual time.

use std::time::Duration;

use host_test::artifact::Artifact;
use host_test::bindings::orders::Placed;
use host_test::world::simulate;

#[test]
fn orders_are_placed_by_one_leader_at_a_time() -> anyhow::Result<()> {
    simulate(1, async |world| {
        let mut a = world.instance("a").artifact(Artifact::OrdersApp).await?;
        let mut b = world.instance("b").artifact(Artifact::OrdersApp).await?;
        for number in 0..3 {
            let placed = a.orders().place("a", &format!("order {number}")).await?;
            assert_eq!(placed, Ok(Placed::Number(number)));
        }
        let placed = b.orders().place("b", "too early").await?;
        assert_eq!(placed, Ok(Placed::LedBy("a".to_owned())));
        // The leader falls silent, and its lease ends.
        world.pass(Duration::from_secs(20)).await;
        let placed = b.orders().place("b", "order 3").await?;
        assert_eq!(placed, Ok(Placed::Number(3)));
        let placed = a.orders().place("a", "too late").await?;
        assert_eq!(placed, Ok(Placed::LedBy("b".to_owned())));
        let orders = a.orders().since(0).await?;
        let expected: Vec<String> = (0..4).map(|number| format!("order {number}")).collect();
        assert_eq!(orders, Ok(expected));
        Ok(())
    })
}
