import java.util.List;
import java.util.stream.LongStream;
import org.apache.beam.runners.direct.DirectOptions;
import org.apache.beam.runners.direct.DirectRunner;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.io.aws2.common.ClientConfiguration;
import org.apache.beam.sdk.io.aws2.dynamodb.DynamoDBIO;
import org.apache.beam.sdk.options.PipelineOptionsFactory;
import org.apache.beam.sdk.transforms.Create;
import org.apache.beam.sdk.transforms.DoFn;
import org.apache.beam.sdk.transforms.ParDo;
import org.apache.beam.sdk.transforms.Reshuffle;
import org.apache.beam.sdk.values.KV;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.dynamodb.model.PutRequest;
import software.amazon.awssdk.services.dynamodb.model.WriteRequest;

/**
 * Beam Java's DynamoDBIO on its direct runner, whose checks of coders and mutations are off. Of
 * several sources tried this one costs it the least: chunks, spread over all cores.
 */
final class BeamWrite {
  private static final long CHUNK = 10_000;

  public static void main(String[] args) throws Exception {
    var measured = new Measured(args);
    var options = PipelineOptionsFactory.create().as(DirectOptions.class);
    options.setRunner(DirectRunner.class);
    options.setEnforceImmutability(false);
    options.setEnforceEncodability(false);
    measured.run(
        () -> {
          var pipeline = Pipeline.create(options);
          pipeline
              .apply(Create.of(chunks(measured.rows)))
              .apply(Reshuffle.viaRandomKey())
              .apply(ParDo.of(new Rows(measured.rows)))
              .apply(write(measured));
          pipeline.run().waitUntilFinish();
        });
  }

  private static List<Long> chunks(long rows) {
    return LongStream.range(0, (rows + CHUNK - 1) / CHUNK).mapToObj(at -> at * CHUNK).toList();
  }

  private static final class Rows extends DoFn<Long, UserBehavior> {
    private final long rows;

    Rows(long rows) {
      this.rows = rows;
    }

    @ProcessElement
    public void process(@Element Long start, OutputReceiver<UserBehavior> out) {
      for (long number = start; number < Math.min(start + CHUNK, rows); number++) {
        out.output(UserBehavior.of(number));
      }
    }
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
