import java.util.List;
import java.util.Properties;
import org.apache.flink.connector.dynamodb.sink.DynamoDbSink;
import org.apache.flink.connector.dynamodb.sink.DynamoDbWriteRequest;
import org.apache.flink.connector.dynamodb.sink.DynamoDbWriteRequestType;
import org.apache.flink.runtime.minicluster.MiniCluster;
import org.apache.flink.runtime.minicluster.MiniClusterConfiguration;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

/** Flink's DynamoDbSink on a cluster within this JVM, which has started before it is measured. */
final class FlinkWrite {
  public static void main(String[] args) throws Exception {
    var measured = new Measured(args);
    var configuration =
        new MiniClusterConfiguration.Builder()
            .setNumTaskManagers(1)
            .setNumSlotsPerTaskManager(measured.slots)
            .withRandomPorts()
            .build();
    try (var cluster = new MiniCluster(configuration)) {
      cluster.start();
      measured.run(
          () -> {
            var environment = StreamExecutionEnvironment.getExecutionEnvironment();
            environment.setParallelism(measured.slots);
            environment.getConfig().enableObjectReuse();
            environment
                .fromSequence(0, measured.rows - 1)
                .map(UserBehavior::of)
                .returns(UserBehavior.class)
                .sinkTo(sink(measured));
            cluster.executeJobBlocking(environment.getStreamGraph().getJobGraph());
          });
    }
  }

  private static DynamoDbSink<UserBehavior> sink(Measured measured) {
    var properties = new Properties();
    properties.setProperty("aws.region", measured.region);
    if (!measured.endpoint.isEmpty()) {
      properties.setProperty("aws.endpoint", measured.endpoint);
    }
    return DynamoDbSink.<UserBehavior>builder()
        .setTableName(measured.table)
        .setOverwriteByPartitionKeys(measured.keys ? List.of("user_id") : List.of())
        .setDynamoDbProperties(properties)
        .setElementConverter(
            (row, context) ->
                DynamoDbWriteRequest.builder()
                    .setType(DynamoDbWriteRequestType.PUT)
                    .setItem(row.item())
                    .build())
        .build();
  }
}
