// Ask with java.net.http: java examples/java/Ask.java "question"
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;

public class Ask {
    public static void main(String[] arguments) throws Exception {
        String url = System.getenv().getOrDefault("SLUICE_URL", "http://127.0.0.1:9001");
        String question = arguments.length > 0 ? arguments[0] : "沈塘桥地铁站的信息";
        String query = "question=" + URLEncoder.encode(question, StandardCharsets.UTF_8);
        if (System.getenv("DATABASE") != null) query += "&database=" + System.getenv("DATABASE");
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(url + "/getAnwser?" + query));
        if (System.getenv("KEY") != null) request.header("Authorization", "Bearer " + System.getenv("KEY"));
        HttpResponse<java.util.stream.Stream<String>> reply =
            HttpClient.newHttpClient().send(request.build(), HttpResponse.BodyHandlers.ofLines());
        if (reply.statusCode() != 200) throw new RuntimeException("status " + reply.statusCode());
        // The lines of each event: id, event (none for text), data.
        java.io.PrintStream out = new java.io.PrintStream(System.out, true, StandardCharsets.UTF_8);
        reply.body().filter(line -> line.startsWith("event: ") || line.startsWith("data: ")).forEach(out::println);
    }
}
