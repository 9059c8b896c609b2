import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;

/**
 * Runs a contender several times in this JVM and prints a line of JSON for each run, with the CPU
 * time of the whole process, the compiler's and the collector's included. The first run is cold.
 */
final class Measured {
  interface Run {
    void write() throws Exception;
  }

  final long rows;
  final String endpoint;
  final String region;
  final String table;
  final boolean keys;
  final int slots;
  private final int runs;

  /** Arguments: rows, runs, endpoint (empty for AWS), region, table, keys, slots. */
  Measured(String[] args) {
    rows = Long.parseLong(args[0]);
    runs = Integer.parseInt(args[1]);
    endpoint = args[2];
    region = args[3];
    table = args[4];
    keys = Boolean.parseBoolean(args[5]);
    slots = Integer.parseInt(args[6]);
  }

  URI endpointUri() {
    return endpoint.isEmpty() ? null : URI.create(endpoint);
  }

  void run(Run contender) throws Exception {
    var system = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
    for (int run = 0; run < runs; run++) {
      long cpu = system.getProcessCpuTime();
      long began = System.nanoTime();
      contender.write();
      System.out.printf(
          Locale.ROOT,
          "{\"seconds\": %.6f, \"cpu_seconds\": %.6f, \"peak_bytes\": %d}%n",
          (System.nanoTime() - began) / 1e9,
          (system.getProcessCpuTime() - cpu) / 1e9,
          peakBytes());
      System.out.flush();
    }
  }

  /** The greatest size of this process in memory, where the system tells it. */
  private static long peakBytes() throws Exception {
    Path status = Path.of("/proc/self/status");
    if (!Files.exists(status)) {
      return 0;
    }
    return Files.readAllLines(status).stream()
        .filter(line -> line.startsWith("VmHWM:"))
        .mapToLong(line -> Long.parseLong(line.replaceAll("\\D", "")) * 1024)
        .findFirst()
        .orElse(0);
  }
}
