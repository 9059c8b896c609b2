import java.io.Serializable;
import java.util.Map;
import software.amazon.awssdk.services.dynamodb.model.AttributeValue;

/** A row of the connector's documentation, as in rows.py. */
record UserBehavior(long userId, long itemId, long categoryId, String behavior)
    implements Serializable {
  private static final String[] BEHAVIORS = {"pv", "buy", "cart", "fav"};

  static UserBehavior of(long number) {
    return new UserBehavior(
        number, number * 7919 % 5_000_011, number % 9_973, BEHAVIORS[(int) (number & 3)]);
  }

  Map<String, AttributeValue> item() {
    return Map.of(
        "user_id", AttributeValue.fromN(Long.toString(userId)),
        "item_id", AttributeValue.fromN(Long.toString(itemId)),
        "category_id", AttributeValue.fromN(Long.toString(categoryId)),
        "behavior", AttributeValue.fromS(behavior));
  }
}
