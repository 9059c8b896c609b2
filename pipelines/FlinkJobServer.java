/**
 * Beam's job server for a cluster that has all of Flink's and Beam's classes.
 *
 * <p>The job server sends every jar of its own class path along with each job, 156 MB, and Flink
 * loads all classes anew from them. It looks for them in the property that is emptied here; by then
 * the class path itself is in force.
 */
public class FlinkJobServer {
  public static void main(String[] arguments) throws Exception {
    System.setProperty("java.class.path", "");
    org.apache.beam.runners.flink.FlinkJobServerDriver.main(arguments);
  }
}
