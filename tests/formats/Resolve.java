import java.io.FileReader;
import java.nio.charset.StandardCharsets;
import java.util.List;
import org.apache.maven.model.Model;
import org.apache.maven.model.io.xpp3.MavenXpp3Reader;
import org.apache.maven.repository.internal.MavenRepositorySystemUtils;
import org.apache.maven.wagon.Wagon;
import org.apache.maven.wagon.providers.file.FileWagon;
import org.eclipse.aether.DefaultRepositorySystemSession;
import org.eclipse.aether.RepositorySystem;
import org.eclipse.aether.artifact.Artifact;
import org.eclipse.aether.artifact.DefaultArtifact;
import org.eclipse.aether.connector.basic.BasicRepositoryConnectorFactory;
import org.eclipse.aether.impl.DefaultServiceLocator;
import org.eclipse.aether.repository.LocalRepository;
import org.eclipse.aether.repository.RemoteRepository;
import org.eclipse.aether.repository.RepositoryPolicy;
import org.eclipse.aether.resolution.ArtifactDescriptorRequest;
import org.eclipse.aether.resolution.ArtifactRequest;
import org.eclipse.aether.resolution.VersionRangeRequest;
import org.eclipse.aether.spi.connector.RepositoryConnectorFactory;
import org.eclipse.aether.spi.connector.transport.TransporterFactory;
import org.eclipse.aether.transport.wagon.WagonProvider;
import org.eclipse.aether.transport.wagon.WagonTransporterFactory;

/** Resolves `group:artifact:aar:version` from a repository as Maven does, refusing wrong checksums, and prints what it found. */
public class Resolve {
    public static class FileWagons implements WagonProvider {
        public Wagon lookup(String hint) {
            return new FileWagon();
        }

        public void release(Wagon wagon) {}
    }

    public static void main(String[] arguments) throws Exception {
        DefaultServiceLocator locator = MavenRepositorySystemUtils.newServiceLocator();
        locator.addService(RepositoryConnectorFactory.class, BasicRepositoryConnectorFactory.class);
        locator.addService(TransporterFactory.class, WagonTransporterFactory.class);
        locator.setServices(WagonProvider.class, new FileWagons());
        RepositorySystem system = locator.getService(RepositorySystem.class);
        DefaultRepositorySystemSession session = MavenRepositorySystemUtils.newSession();
        session.setLocalRepositoryManager(system.newLocalRepositoryManager(session, new LocalRepository(arguments[1])));
        session.setChecksumPolicy(RepositoryPolicy.CHECKSUM_POLICY_FAIL);
        List<RemoteRepository> remotes = List.of(new RemoteRepository.Builder("model", "default", arguments[0]).build());
        Artifact asked = new DefaultArtifact(arguments[2]);
        system.readArtifactDescriptor(session, new ArtifactDescriptorRequest(asked, remotes, null));
        System.out.println(system.resolveArtifact(session, new ArtifactRequest(asked, remotes, null)).getArtifact().getFile());
        Artifact any = new DefaultArtifact(asked.getGroupId(), asked.getArtifactId(), "aar", "[0,)");
        System.out.println(system.resolveVersionRange(session, new VersionRangeRequest(any, remotes, null)).getVersions());
        Artifact pom = new DefaultArtifact(asked.getGroupId(), asked.getArtifactId(), "pom", asked.getVersion());
        Artifact read = system.resolveArtifact(session, new ArtifactRequest(pom, remotes, null)).getArtifact();
        try (FileReader text = new FileReader(read.getFile(), StandardCharsets.UTF_8)) {
            Model model = new MavenXpp3Reader().read(text, true);
            System.out.println(model.getPackaging());
            System.out.println(model.getDescription());
        }
    }
}
