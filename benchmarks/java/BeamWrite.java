import java.util.List;
import org.apache.beam.runners.direct.DirectOptions;
import org.apache.beam.runners.direct.DirectRunner;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.io.GenerateSequence;
import org.apache.beam.sdk.io.aws2.common.ClientConfiguration;
import org.apache.beam.sdk.io.aws2.dynamodb.DynamoDBIO;
import org.apache.beam.sdk.options.PipelineOptionsFactory;
import org.apache.beam.sdk.transforms.MapElements;
import org.apache.beam.sdk.values.KV;
import org.apache.beam.sdk.values.TypeDescriptor;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.dynamodb.model.PutRequest;
import software.amazon.awssdk.services.dynamodb.model.WriteRequest;

/** Beam Java's DynamoDBIO on its direct runner, which checks nothing that costs time. */
final class BeamWrite {
  public static void main(String[] args) throws Exception {
    var measured = new Measured(args);
    var options = PipelineOptionsFactory.create().as(DirectOptions.class);
    options.setRunner(DirectRunner.class);
    boolean checks = Boolean.getBoolean("checks");
    options.setEnforceImmutability(checks);
    options.setEnforceEncodability(checks);
    measured.run(
        () -> {
          var pipeline = Pipeline.create(options);
          pipeline
              .apply(GenerateSequence.from(0).to(measured.rows))
              .apply(
                  MapElements.into(TypeDescriptor.of(UserBehavior.class)).via(UserBehavior::of))
              .apply(write(measured));
          pipeline.run().waitUntilFinish();
        });
  }

  private static DynamoDBIO.Write<UserBehavior> write(Measured measured) {
    String table = measured.table;
    var client =
        ClientConfiguration.builder()
            .region(Region.of(measured.region))
            .endpoint(measured.endpointUri())
            .build();
    return DynamoDBIO.<UserBehavior>write()
        .withClientConfiguration(client)
        .withDeduplicateKeys(measured.keys ? List.of("user_id") : List.of())
        .withWriteRequestMapperFn(row -> KV.of(table, put(row)));
  }

  private static WriteRequest put(UserBehavior row) {
    return WriteRequest.builder()
        .putRequest(PutRequest.builder().item(row.item()).build())
        .build();
  }
}
